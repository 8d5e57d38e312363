"""The one way in: `admit` judges, then mail gets its Received, its id and its place."""
