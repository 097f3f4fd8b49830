"""The games themselves, looked at: spectra, curvature, and what theory makes of them."""
