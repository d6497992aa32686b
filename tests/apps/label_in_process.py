"""Run by the Python of the label server: infers with every bundle and trains one, without a server.

Arguments: folder of the app, of the images, of the bundles; name of the bundle to train. ``label.nii.gz`` beside
the folder of the images is the label of each. Prints JSON: the files of the label maps, before and after the training.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


def main(app_dir: str, studies: str, bundles: str, trained: str) -> None:
    from monailabel.interfaces.datastore import DefaultLabelTag

    from medmamba_monai.apps.monailabel.app import BundleApp

    app = BundleApp(app_dir, studies, {"bundles": bundles})

    def infer() -> dict[str, str]:
        return {name: app.infer({"model": name, "image": "case", "device": "cpu"})["file"] for name in app._infers}

    found = {"labels": {name: task.info()["labels"] for name, task in app._infers.items()}, "before": infer()}
    for image in app.datastore().list_images():
        app.datastore().save_label(image, str(Path(studies).parent / "label.nii.gz"), DefaultLabelTag.FINAL, {})
    app.train({"model": trained, "max_epochs": 1, "device": "cpu", "pretrained": False})
    print("\n" + json.dumps(found | {"after": infer()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
