"""Parts of equalize-layers and equalize-inputs: what a factor per channel can be moved through and into."""
