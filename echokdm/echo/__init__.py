"""Hearts: outlines, volumes and beats of a clip, wishes for it, and the clip that follows them."""
