"""The command `mta`: what people type. Each module adds its commands to the app of `main`."""
