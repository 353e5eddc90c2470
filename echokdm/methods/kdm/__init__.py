"""KDM: key-points to flow, flow to image (papers: KDM, sections 3.1-3.4)."""
