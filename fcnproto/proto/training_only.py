"""Fields of forks that change how a net is trained, or how fast, and nothing of what it computes.

They are known by name so that nets which have them can be read; their values are passed over.
"""

from __future__ import annotations

from collections.abc import Mapping

_NVIDIA, _INTEL, _TI = "NVIDIA's Caffe", "Intel's Caffe", "TI's Caffe"

_FIELDS: Mapping[str, Mapping[str, str]] = {
    _NVIDIA: {
        "NetParameter": """
            default_forward_type default_backward_type default_forward_math default_backward_math
            default_conv_algos_override default_cudnn_math_override global_grad_scale
            global_grad_scale_adaptive reduce_buckets eltwise_mem_sharing
        """,
        "LayerParameter": "forward_type backward_type forward_math backward_math debug",
        "BatchNormParameter": "engine",
        "ConvolutionParameter": """
            cudnn_convolution_algo_seeker conv_algos_override cudnn_math_override
        """,
        "DataParameter": "threads parser_threads cache shuffle",
        "ImageDataParameter": "threads cache",
        "WindowDataParameter": "threads cache shuffle",
        "ImageLabelDataParameter": "threads scale_prob scale_min scale_max",
        "DropoutParameter": "engine",
        "TransformationParameter": """
            use_gpu_transform random_resize_param img_rand_resize_lower img_rand_resize_upper
            rand_resize_ratio_lower rand_resize_ratio_upper vertical_stretch_lower
            vertical_stretch_upper interpolation_algo_up interpolation_algo_down allow_upscale
            random_seed display invalid_detection_mode summary_to_use
        """,
        "SolverParameter": """
            larc larc_turbo larc_policy local_gw_ratio local_lr_auto rampup_interval rampup_lr
            min_lr store_blobs_in_old_format solver_data_type momentum_policy max_momentum
            momentum_power weight_decay_policy weight_decay_power fisher_grad_scale
            stepsize_in_epochs gpu_solver_mode
        """,
    },
    _INTEL: {
        "NetParameter": """
            engine bn_stats_batch_size compile_net_state multinode multinode_param workspace model
        """,
        "LayerParameter": "engine multinode",
        "ConvolutionParameter": "fuse_type",
        "TransformationParameter": "random_aspect_ratio_param resize_side_param multi_resize",
        "DataParameter": "prefetch_threads",
        "SolverParameter": """
            engine multinode_param warmup_iter warmup_start_lr mn_param disabled_update
        """,
    },
    _TI: {
        "NetParameter": "quantize sparse_mode net_quantization_param",
        "LayerParameter": "quantization_param",
        "SolverParameter": "sparse_mode display_sparsity insert_quantization_param",
    },
}

TRAINING_ONLY: Mapping[tuple[str, str], str] = {
    (message, name): fork
    for fork, messages in _FIELDS.items()
    for message, names in messages.items()
    for name in names.split()
}
"""The fork that has a field, by the names of message and field."""
