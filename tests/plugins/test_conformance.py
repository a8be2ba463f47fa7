"""All first-party experiments pass the suite that third parties use; those of long trials in a shorter form.

Drawing takes as long as the trials, and each study's own tests draw it, on a full frame and on none. So the check of
their pictures is slow here.
"""

import pytest

from dlbench.plugins import AUDITS, EXPERIMENTS
from dlbench.testing import CHECKS, conformance

SHORTER = {
    "audit_data_hunger": {"most": 200, "steps": 3, "rates": (1e-2,)},
    "audit_robustness": {
        "tested": 10,
        "diagnosed": 5,
        "steps": 2,
        "target_classes": 1,
        "queries": 5,
        "pgd_steps": 2,
        "restarts": 2,
        "draws": 2,
    },
    "audit_corruption": {"tested": 20},
    "audit_cost": {"repeats": 5},
    "compute_cost": {
        "shapes": ("3", "5"),
        "channels": (4,),
        "train_size": 60,
        "validation": 30,
        "tested": 80,
        "steps": 3,
    },
    "data_hunger": {"sizes": (20, 40, 60), "steps": 3, "validation": 20, "tested": 100, "rounds": 8},
    "algorithmic_bias": {"steps": 8, "faces": 200, "test_faces": 80, "shares": (0.0, 0.01, 0.5)},
    "stale_data": {"updates": 8, "labels": 60, "test_points": 200, "drives": 60},
    "universal_approximation": {"adam_steps": 5, "lbfgs_steps": 10},
    "extrapolation": {"steps": 60},
    "traffic_graph": {"epochs": 1},
    "adversarial_3d": {"epochs": 1, "steps": 3, "eot_samples": 2, "training_images": 600, "objects": 1},
    "adversarial_gan": {"attacked": 40, "steps": 5, "generator_epochs": 2, "judge_updates": 20},
    "adversarial_gradient": {"attacked": 40, "steps": 6, "restarts": 2, "queries": 40, "epochs": 3},
    "adversarial_training": {"attacked": 40, "steps": 6, "queries": 40, "epochs": 3, "validated": 40},
    "gcn_nodes": {"epochs": 10, "trials": 1},
    "gcn_receptive_field": {"epochs": 3, "depths": (2, 8)},
    "aleatoric_uncertainty": {"steps": 20, "image_steps": 20, "pairs": 500, "test_pairs": 200, "members": 2},
    "colorization_bias": {"dogs": 40, "test_dogs": 10, "width": 8, "steps": 20, "batch": 100},
    "calibration": {"steps": 20, "width": 8, "passes": 2, "null_draws": 2},
    "corruption_shift": {
        "models": ("mlp", "mlp_noise", "mlp_augmented", "mlp_ensemble"),
        "steps": 60,
        "tested": 60,
        "width": 16,
        "members": 2,
    },
    "epidemic_graph": {"every": 40, "epochs": 2},
    "mpnn_molecules": {"epochs": 2, "train": 200, "test": 300, "trials": 1, "trees": 20},
    "point_clouds": {"epochs": 2, "training_clouds": 80, "test_clouds": 80},
    "ood_confidence": {"pairs": 1, "steps": 10, "members": 2, "width": 16, "most": 40},
    "garbage_data": {"datasets_used": ("digits",), "train_size": 60, "validation": 20, "steps": 3, "batch_size": 10},
    "interpretability": {"train_size": 200, "test_size": 60, "judged": 5, "steps": 5, "draws": 2},
    "cnn_spatial": {"steps": 3, "sizes": (20, 60), "validation": 20, "tested": 200, "filters": 4, "fewer": (1, 2)},
    "prior_knowledge": {"sizes": (20, 500), "steps": 3, "width": 2, "units": 4, "fit_steps": 3, "observed": 20},
    "optimization_sensitivity": {"steps": 3, "depths": (1, 3), "width": 4, "iterations": 2, "resolution": 3},
    "autoai": {"tables": ("digits", "diabetes"), "most": 60, "budget": 2, "families": ("linear",), "expert_trees": 10},
    "expert_tuning": {"validation": 50, "channels": 4, "steps": 90, "batch_size": 20, "trials": 3, "equal": 2},
    "nas_controller": {"evaluations": 10, "searches": 2},
    "nas_vs_experts": {"evaluations": 10, "steps": 5, "published_steps": 5, "test": 200},
    "random_labels": {"epochs": 20, "corruption": (0.0, 0.6, 1.0)},
    "robust_accuracy": {
        "attacked": 12,
        "diagnosed": 8,
        "restarts": 2,
        "steps": 2,
        "queries": 10,
        "epochs": 1,
        "training_steps": 1,
    },
    "depth_width_tradeoff": {"steps": 5, "ks": (1, 3), "trained_ks": (1,), "shaped_ks": (1,)},
    "fit_without_generalization": {"steps": 40, "pretraining_steps": 20, "members": 2, "draws": 2, "widths": (5, 40)},
    "uncertainty_disentanglement": {"members": 2, "steps": 10, "train_size": 128, "test_size": 100, "width": 8},
}

TestStudies = conformance("dlbench", overrides=SHORTER, checks=CHECKS.keys() - {"plot"}, groups=[EXPERIMENTS])
TestPictures = pytest.mark.slow(conformance("dlbench", overrides=SHORTER, checks={"plot"}, groups=[EXPERIMENTS]))
TestAudits = conformance("dlbench", overrides=SHORTER, groups=[AUDITS])
