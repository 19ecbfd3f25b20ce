"""Images: decoded into upright RGB, resized and cropped on the host, normalised on the device."""
