"""Fields of forks that are known by name and not read: their values are passed over.

Most change how a net is trained, or how fast, and nothing of what it computes. The others are the
settings of layers that are not computed here, which say so themselves.
"""

from __future__ import annotations

from collections.abc import Mapping

_NVIDIA, _INTEL, _TI = "NVIDIA's Caffe", "Intel's Caffe", "TI's Caffe"
_XILINX, _VIDEO, _YOLO = "Xilinx's Caffe", "the Caffe of action recognition", "MobileNet-YOLO"
_DEEPLAB, _DSS, _CCNN = "the Caffe of DeepLab", "the Caffe of DSS", "the Caffe of CCNN"

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
        "ImageDataParameter": "threads cache precache",
        "MemoryDataParameter": "source share_in_parallel",
        "WindowDataParameter": "threads cache shuffle",
        "DropoutParameter": "engine",
        "TransformationParameter": """
            use_gpu_transform random_resize_param img_rand_resize_lower img_rand_resize_upper
            rand_resize_ratio_lower rand_resize_ratio_upper vertical_stretch_lower
            vertical_stretch_upper interpolation_algo_up interpolation_algo_down allow_upscale
            random_seed display invalid_detection_mode summary_to_use horizontal_stretch_lower
            horizontal_stretch_upper
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
        "BatchNormParameter": "filler",
        "ConvolutionParameter": "fuse_type conv_algorithm",
        "ConcatParameter": "per_fla_fuse",
        "TransformationParameter": "random_aspect_ratio_param resize_side_param multi_resize pad",
        "DataParameter": "prefetch_threads",
        "SolverParameter": """
            engine multinode_param warmup_iter warmup_start_lr mn_param disabled_update
        """,
    },
    _TI: {
        "NetParameter": "quantize sparse_mode net_quantization_param",
        "LayerParameter": "quantization_param",
        "SolverParameter": "sparse_mode display_sparsity insert_quantization_param",
        "MultiBoxLossParameter": "ignore_difficult_gt",
        "ImageLabelDataParameter": "threads scale_prob scale_min scale_max",
    },
    _XILINX: {"DataParameter": "multi_gpu_testing"},
    _VIDEO: {
        "TransformationParameter": """
            scale_ratios max_distort multi_scale is_flow fix_crop more_fix_crop stride
        """,
        "VideoDataParameter": """
            source batch_size shuffle new_length new_height new_width num_segments modality
            name_pattern
        """,
    },
    _YOLO: {
        "AnnotatedDataParameter": """
            yolo_data_type yolo_data_jitter train_diffcult single_class seg_scales
        """,
    },
    _DEEPLAB: {
        "ImageDataParameter": "has_label",
        "SoftmaxLossParameter": "weight_source",
        "V1LayerParameter": "eltwise_accuracy_param",
    },
    _DSS: {"ImageDataParameter": "normalize"},
    _CCNN: {"LossParameter": "weigh_instance background_weight"},
}

_SETTINGS: Mapping[str, str] = {
    _YOLO: """
        region_loss_param reorg_param segmentation_evaluate_param yolo_detection_output_param
        yolo_seg_param yolov3_detection_output_param yolov3_param
    """,
    _INTEL: "eval_detection_param",
    _NVIDIA: "detectnet_augmentation_param detectnet_groundtruth_param trt_param",
    _XILINX: "deephi_resize_param fixed_param",
    _VIDEO: "seg_data_param",
    "MNC": "mask_resize_param roi_warping_param",
    "R-FCN": "proposal_param",
    "OpenPose": "cpm_transform_param",
}

UNREAD: Mapping[tuple[str, str], str] = {
    (message, name): f"is a field of {fork} for training, and has no effect here"
    for fork, messages in _FIELDS.items()
    for message, names in messages.items()
    for name in names.split()
} | {
    ("LayerParameter", name): f"has the settings of a layer of {fork} that is not computed here"
    for fork, names in _SETTINGS.items()
    for name in names.split()
}
"""What there is to say of a field that is not read, by the names of message and field."""
