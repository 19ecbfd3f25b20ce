"""`maas demo`: the whole main job, on real data of each modality, between real processes."""
