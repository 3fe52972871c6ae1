"""What fuse-bn is made of: what a node does to each channel, how layers absorb it, chains of such nodes."""
