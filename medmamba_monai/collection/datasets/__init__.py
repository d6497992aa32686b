"""Readers for the data layouts that the bundles accept: one module a data set; each returns a MONAI datalist."""

from __future__ import annotations

from medmamba_monai.collection.datasets.blood_cells import CELL_CLASSES, blood_cells
from medmamba_monai.collection.datasets.brain_pairs import brain_pairs, check_brain_pairs, input_brain_pairs
from medmamba_monai.collection.datasets.breast_ultrasound import BREAST_CLASSES, breast_ultrasound
from medmamba_monai.collection.datasets.cardiac import cardiac
from medmamba_monai.collection.datasets.common import (
    SECTIONS,
    DataSet,
    Item,
    balanced_weights,
    input_files,
    repeated,
)
from medmamba_monai.collection.datasets.doses import doses_from_tables, input_plans, planned_doses
from medmamba_monai.collection.datasets.fetal_head import fetal_head, fill_outlines
from medmamba_monai.collection.datasets.glands import glands, halve_glands
from medmamba_monai.collection.datasets.head_neck import head_neck, volumes_from_tables
from medmamba_monai.collection.datasets.heart_groups import HEART_CLASSES, heart_groups, input_hearts
from medmamba_monai.collection.datasets.hippocampus import hippocampus
from medmamba_monai.collection.datasets.left_ventricle import left_ventricle, slices_from_contours
from medmamba_monai.collection.datasets.nuclei import merge_nuclei, nuclei
from medmamba_monai.collection.datasets.pairs import hippocampus_pairs, input_pairs, left_ventricle_pairs
from medmamba_monai.collection.datasets.polyps import polyps
from medmamba_monai.collection.datasets.retina import retina
from medmamba_monai.collection.datasets.skin import SKIN_CLASSES, skin
from medmamba_monai.collection.datasets.tuberculosis import CHEST_CLASSES, tuberculosis

__all__ = [
    "BREAST_CLASSES",
    "CELL_CLASSES",
    "CHEST_CLASSES",
    "HEART_CLASSES",
    "SECTIONS",
    "SETS",
    "SKIN_CLASSES",
    "DataSet",
    "Item",
    "balanced_weights",
    "blood_cells",
    "brain_pairs",
    "breast_ultrasound",
    "cardiac",
    "check_brain_pairs",
    "fetal_head",
    "glands",
    "head_neck",
    "heart_groups",
    "hippocampus",
    "hippocampus_pairs",
    "input_brain_pairs",
    "input_files",
    "input_hearts",
    "input_pairs",
    "input_plans",
    "left_ventricle",
    "left_ventricle_pairs",
    "nuclei",
    "planned_doses",
    "polyps",
    "repeated",
    "retina",
    "skin",
    "tuberculosis",
]

# the name for ``prepare`` -> its data set
SETS: dict[str, DataSet] = {
    "blood_cells": DataSet(blood_cells, 2, (3, 4), "medmamba_bloodcell_microscopy_classification"),
    "brain_pairs": DataSet(brain_pairs, 2, (1, 2, 3, 4), "fusionmamba_brain_fusion"),
    "breast_ultrasound": DataSet(breast_ultrasound, 2, (1, 2, 3, 4), "medmamba_breast_ultrasound_classification"),
    "cardiac": DataSet(cardiac, 3, (1,), "umamba_acdc_mr_segmentation"),
    "fetal_head": DataSet(fetal_head, 2, (1, 2, 3, 4), "lightmunet_fetalhead_ultrasound_segmentation", fill_outlines),
    "glands": DataSet(glands, 2, (3, 4), "mambaunet_gland_histology_segmentation", halve_glands),
    "head_neck": DataSet(head_neck, 3, (1,), "umamba_headneck_ct_segmentation", volumes_from_tables),
    "hippocampus": DataSet(hippocampus, 3, (1,), "umamba_hippocampus_mr_segmentation"),
    "left_ventricle": DataSet(left_ventricle, 2, (1, 3, 4), "vmunet_cardiac_mr_segmentation", slices_from_contours),
    "nuclei": DataSet(nuclei, 2, (1, 3, 4), "umamba_nuclei_microscopy_segmentation", merge_nuclei),
    "planned_doses": DataSet(planned_doses, 3, (1,), "mddose_headneck_ct_dose", doses_from_tables),
    "polyps": DataSet(polyps, 2, (1, 3, 4), "umamba_polyp_endoscopy_segmentation"),
    "retina": DataSet(retina, 2, (3, 4), "ultralightvmunet_retina_segmentation"),
    "skin": DataSet(skin, 2, (3, 4), "medmamba_skin_dermoscopy_classification"),
    "tuberculosis": DataSet(tuberculosis, 2, (1, 2, 3, 4), "medmamba_tuberculosis_xray_classification"),
}
