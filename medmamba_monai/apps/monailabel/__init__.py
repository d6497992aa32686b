"""The app that MONAI Label loads: all bundles of the collection behind one server."""
