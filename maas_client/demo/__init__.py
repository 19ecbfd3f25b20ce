"""`maas demo`: the whole main job, on real photos, between real processes."""
