"""echokdm: echocardiography video that does what its key-points ask."""
