"""Where model-written code runs, and the work copies it runs on."""
