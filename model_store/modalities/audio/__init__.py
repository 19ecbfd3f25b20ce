"""Recordings of sound: decoded, mixed to one channel, resampled, and cut into windows."""
