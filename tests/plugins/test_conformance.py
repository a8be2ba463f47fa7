"""All first-party experiments pass the suite that third parties use; those of long trials in a shorter form."""

from dlbench.testing import conformance

SHORTER = {
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
    "optimization_sensitivity": {"steps": 3, "depths": (1, 3), "width": 4, "iterations": 2, "resolution": 3},
    "nas_controller": {"evaluations": 10, "searches": 2},
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

TestConformance = conformance("dlbench", overrides=SHORTER)
