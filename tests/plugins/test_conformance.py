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
    "epidemic_graph": {"every": 40, "epochs": 2},
    "mpnn_molecules": {"epochs": 2, "train": 200, "test": 300, "trials": 1, "trees": 20},
    "point_clouds": {"epochs": 2, "training_clouds": 80, "test_clouds": 80},
    "random_labels": {"epochs": 20, "corruption": (0.0, 0.6, 1.0)},
    "robust_accuracy": {"attacked": 20, "diagnosed": 10, "restarts": 2, "steps": 3, "queries": 20, "epochs": 2},
}

TestConformance = conformance("dlbench", overrides=SHORTER)
