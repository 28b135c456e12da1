"""ST-SED: weak labels in, presence map and latent embedding out."""
