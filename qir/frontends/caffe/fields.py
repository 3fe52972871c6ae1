"""The messages of a prototxt as a table: those of Caffe 1.0 and of the forks whose layers qir reads.

`kind name name …` are fields; `name*` is a repeated one, `name=1` has that default. Only names count in text,
so that forks which gave the same number to different fields are all understood.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

ENUMS: Mapping[str, str] = MappingProxyType(
    {
        "Phase": "TRAIN TEST",
        "VarianceNorm": "FAN_IN FAN_OUT AVERAGE",
        "DimCheckMode": "STRICT PERMISSIVE",
        "Engine": "DEFAULT CAFFE CUDNN LIBDNN INTEL_SPATIAL FFT MKL2017 MKLDNN",
        "DB": "LEVELDB LMDB",
        "NormalizationMode": "FULL VALID BATCH_SIZE NONE",
        "AnnotationType": "BBOX",
        "EmitType": "CENTER MIN_OVERLAP",
        "LocLossType": "L2 SMOOTH_L1",
        "ConfLossType": "SOFTMAX LOGISTIC",
        "MatchType": "BIPARTITE PER_PREDICTION",
        "MiningType": "NONE MAX_NEGATIVE HARD_EXAMPLE",
        "ResizeMode": "WARP=1 FIT_SMALL_SIZE FIT_LARGE_SIZE_AND_PAD",
        "PadMode": "CONSTANT=1 MIRRORED REPEAT_NEAREST",
        "InterpMode": "LINEAR=1 AREA NEAREST CUBIC LANCZOS4",
        "EltwiseOp": "PROD SUM MAX",
        "Norm": "L1=1 L2",
        "NormRegion": "ACROSS_CHANNELS WITHIN_CHANNEL",
        "PoolMethod": "MAX AVE STOCHASTIC",
        "RoundMode": "CEIL FLOOR",
        "CodeType": "CORNER=1 CENTER_SIZE CORNER_SIZE",
        "ReductionOp": "SUM=1 ASUM SUMSQ MEAN",
        "LayerType": "NONE ACCURACY BNLL CONCAT CONVOLUTION DATA DROPOUT EUCLIDEAN_LOSS FLATTEN HDF5_DATA"
        " HDF5_OUTPUT IM2COL IMAGE_DATA INFOGAIN_LOSS INNER_PRODUCT LRN MULTINOMIAL_LOGISTIC_LOSS POOLING"
        " RELU SIGMOID SOFTMAX SOFTMAX_LOSS SPLIT TANH WINDOW_DATA ELTWISE POWER SIGMOID_CROSS_ENTROPY_LOSS"
        " HINGE_LOSS MEMORY_DATA ARGMAX THRESHOLD DUMMY_DATA SLICE MVN ABSVAL SILENCE CONTRASTIVE_LOSS EXP"
        " DECONVOLUTION",
    }
)
"""Enum -> its words; numbers count up from 0, or from the number given."""

_SHARED_PARAMETERS = """
AccuracyParameter accuracy_param; ArgMaxParameter argmax_param; ConcatParameter concat_param
ContrastiveLossParameter contrastive_loss_param; ConvolutionParameter convolution_param
DataParameter data_param; DropoutParameter dropout_param; DummyDataParameter dummy_data_param
EltwiseParameter eltwise_param; ExpParameter exp_param; HDF5DataParameter hdf5_data_param
HDF5OutputParameter hdf5_output_param; HingeLossParameter hinge_loss_param
ImageDataParameter image_data_param; InfogainLossParameter infogain_loss_param
InnerProductParameter inner_product_param; LRNParameter lrn_param; MemoryDataParameter memory_data_param
MVNParameter mvn_param; PoolingParameter pooling_param; PowerParameter power_param; ReLUParameter relu_param
EngineParameter sigmoid_param tanh_param; SoftmaxParameter softmax_param; SliceParameter slice_param
ThresholdParameter threshold_param; WindowDataParameter window_data_param
TransformationParameter transform_param; LossParameter loss_param
"""

MESSAGES: Mapping[str, str] = MappingProxyType(
    {
        "BlobShape": "int dim*",
        "NetState": "Phase phase=TEST; int level=0; string stage*",
        "NetStateRule": "Phase phase; int min_level max_level; string stage* not_stage*",
        "NetParameter": "string name input*; BlobShape input_shape*; int input_dim*; NetState state"
        "; bool force_backward debug_info; LayerParameter layer*; V1LayerParameter layers*",
        "ParamSpec": "string name; DimCheckMode share_mode; float lr_mult decay_mult",
        "FillerParameter": "string type; float value min max mean std; int sparse"
        "; VarianceNorm variance_norm",
        "LayerParameter": f"""string name type bottom* top*; Phase phase; float loss_weight*; ParamSpec param*
            bool propagate_down*; NetStateRule include* exclude*; {_SHARED_PARAMETERS}
            AnnotatedDataParameter annotated_data_param; AxisParameter bias_param; ScaleParameter scale_param
            BatchNormParameter batch_norm_param; ClipParameter clip_param; CropParameter crop_param
            DetectionEvaluateParameter detection_evaluate_param
            DetectionOutputParameter detection_output_param; ELUParameter elu_param
            EmbedParameter embed_param; FlattenParameter flatten_param; InputParameter input_param
            InterpParameter interp_param; LogParameter log_param; MultiBoxLossParameter multibox_loss_param
            NormalizeParameter norm_param; ParameterParameter parameter_param; PermuteParameter permute_param
            PReLUParameter prelu_param; PriorBoxParameter prior_box_param; PythonParameter python_param
            RecurrentParameter recurrent_param; ReductionParameter reduction_param; ReLUParameter relu6_param
            ReshapeParameter reshape_param; ShuffleChannelParameter shuffle_channel_param
            SPPParameter spp_param; SwishParameter swish_param; TileParameter tile_param
            UpsampleParameter upsample_param""",
        "V1LayerParameter": f"""string name bottom* top*; LayerType type; NetStateRule include* exclude*
            string param*; DimCheckMode blob_share_mode*; float blobs_lr* weight_decay* loss_weight*
            {_SHARED_PARAMETERS}""",
        "AccuracyParameter": "uint top_k; int axis ignore_label",
        "AnnotatedDataParameter": "string label_map_file; BatchSampler batch_sampler*"
        "; AnnotationType anno_type",
        "ArgMaxParameter": "bool out_max_val; uint top_k=1; int axis",
        "AxisParameter": "int axis=1 num_axes=1; FillerParameter filler",
        "BatchSampler": """bool use_original_image; Sampler sampler; SampleConstraint sample_constraint
            uint max_sample max_trials""",
        "BatchNormParameter": "bool use_global_stats; float moving_average_fraction eps=1e-5",
        "ClipParameter": "float min max",
        "ConcatParameter": "int axis=1; uint concat_dim=1",
        "ContrastiveLossParameter": "float margin; bool legacy_version",
        "ConvolutionParameter": """uint num_output; bool bias_term=true
            uint pad* kernel_size* stride* dilation*
            uint pad_h pad_w kernel_h kernel_w stride_h stride_w group=1
            FillerParameter weight_filler bias_filler; Engine engine; int axis=1; bool force_nd_im2col""",
        "CropParameter": "int axis=2; uint offset*",
        "DataParameter": """string source; uint batch_size rand_skip crop_size prefetch; DB backend
            float scale; string mean_file; bool mirror force_encoded_color""",
        "DetectionEvaluateParameter": """uint num_classes background_label_id; float overlap_threshold
            bool evaluate_difficult_gt; string name_size_file; ResizeParameter resize_param""",
        "DetectionOutputParameter": """uint num_classes; bool share_location=true; int background_label_id=0
            NonMaximumSuppressionParameter nms_param; SaveOutputParameter save_output_param
            CodeType code_type=CORNER; int keep_top_k=-1; bool variance_encoded_in_target
            float confidence_threshold; bool visualize; float visualize_threshold; string save_file""",
        "DropoutParameter": "float dropout_ratio=0.5; bool scale_train=true",
        "DistortionParameter": """float brightness_prob brightness_delta contrast_prob contrast_lower
            float contrast_upper hue_prob hue_delta saturation_prob saturation_lower saturation_upper
            float random_order_prob""",
        "DummyDataParameter": "FillerParameter data_filler*; BlobShape shape*"
        "; uint num* channels* height* width*",
        "ELUParameter": "float alpha=1",
        "EltwiseParameter": "EltwiseOp operation=SUM; float coeff*; bool stable_prod_grad",
        "EmbedParameter": "uint num_output input_dim; bool bias_term"
        "; FillerParameter weight_filler bias_filler",
        "EmitConstraint": "EmitType emit_type; float emit_overlap",
        "EngineParameter": "Engine engine",
        "ExpansionParameter": "float prob max_expand_ratio",
        "ExpParameter": "float base=-1 scale=1 shift=0",
        "FlattenParameter": "int axis=1 end_axis=-1",
        "HDF5DataParameter": "string source; uint batch_size; bool shuffle",
        "HDF5OutputParameter": "string file_name",
        "HingeLossParameter": "Norm norm",
        "ImageDataParameter": """string source; uint batch_size=1 rand_skip new_height new_width crop_size
            bool shuffle is_color=true mirror; float scale; string mean_file root_folder""",
        "InfogainLossParameter": "string source; int axis",
        "InnerProductParameter": """uint num_output; bool bias_term=true transpose=false; int axis=1
            FillerParameter weight_filler bias_filler""",
        "InputParameter": "BlobShape shape*",
        "InterpParameter": "int height width zoom_factor=1 shrink_factor=1 pad_beg=0 pad_end=0",
        "LRNParameter": "uint local_size=5; float alpha=1 beta=0.75 k=1; NormRegion norm_region"
        "; Engine engine",
        "LogParameter": "float base=-1 scale=1 shift=0",
        "LossParameter": "int ignore_label; NormalizationMode normalization; bool normalize",
        "MVNParameter": "bool normalize_variance=true across_channels=false; float eps=1e-9",
        "MemoryDataParameter": "uint batch_size channels height width",
        "MultiBoxLossParameter": """LocLossType loc_loss_type; ConfLossType conf_loss_type; float loc_weight
            uint num_classes background_label_id; bool share_location; MatchType match_type
            float overlap_threshold neg_pos_ratio neg_overlap nms_threshold; MiningType mining_type
            bool use_prior_for_matching normalize use_difficult_gt do_neg_mining
            bool ignore_cross_boundary_bbox bp_inside use_prior_for_nms encode_variance_in_target
            bool map_object_to_agnostic
            CodeType code_type; NonMaximumSuppressionParameter nms_param; int sample_size""",
        "NonMaximumSuppressionParameter": "float nms_threshold=0.3; int top_k; float eta=1",
        "NormalizeParameter": "bool across_spatial=true channel_shared=true; float eps=1e-10"
        "; FillerParameter scale_filler",
        "PReLUParameter": "FillerParameter filler; bool channel_shared=false",
        "ParameterParameter": "BlobShape shape",
        "PermuteParameter": "uint order*",
        "PoolingParameter": """PoolMethod pool; uint pad* pad_h pad_w kernel_size* kernel_h kernel_w stride*
            uint stride_h stride_w; Engine engine; bool global_pooling ceil_mode=true
            RoundMode round_mode""",
        "PowerParameter": "float power=1 scale=1 shift=0",
        "PriorBoxParameter": """float min_size* max_size* aspect_ratio* variance*; bool flip=true clip=false
            uint img_size img_h img_w; float step step_h step_w offset=0.5""",
        "PythonParameter": "string module layer param_str; bool share_in_parallel",
        "ReLUParameter": "float negative_slope=0; Engine engine",
        "RecurrentParameter": "uint num_output; bool debug_info expose_hidden"
        "; FillerParameter weight_filler bias_filler",
        "ReductionParameter": "ReductionOp operation=SUM; int axis=0; float coeff=1",
        "ReshapeParameter": "BlobShape shape; int axis=0 num_axes=-1",
        "ResizeParameter": """float prob pad_value*; ResizeMode resize_mode; PadMode pad_mode
            InterpMode interp_mode*; uint height width height_scale width_scale""",
        "SampleConstraint": """float min_jaccard_overlap max_jaccard_overlap min_sample_coverage
            float max_sample_coverage min_object_coverage max_object_coverage""",
        "Sampler": "float min_scale max_scale min_aspect_ratio max_aspect_ratio",
        "SPPParameter": "uint pyramid_height; PoolMethod pool; Engine engine",
        "SaveOutputParameter": """string output_directory output_name_prefix output_format label_map_file
            string name_size_file; uint num_test_image; ResizeParameter resize_param""",
        "ScaleParameter": "int axis=1 num_axes=1; bool bias_term=false; FillerParameter filler bias_filler",
        "ShuffleChannelParameter": "uint group=1",
        "SliceParameter": "int axis=1; uint slice_point* slice_dim=1",
        "SoftmaxParameter": "int axis=1; Engine engine",
        "SwishParameter": "float beta=1",
        "ThresholdParameter": "float threshold=0",
        "TileParameter": "int axis=1 tiles",
        "TransformationParameter": """float scale; bool mirror force_color force_gray; uint crop_size crop_h
            uint crop_w; string mean_file; float mean_value*; ResizeParameter resize_param
            DistortionParameter distort_param; ExpansionParameter expand_param
            EmitConstraint emit_constraint""",
        "UpsampleParameter": "uint scale stride stride_h stride_w upsample_h upsample_w",
        "WindowDataParameter": """string source mean_file crop_mode root_folder; float scale; uint batch_size
            uint crop_size context_pad; bool mirror cache_images
            float fg_threshold bg_threshold fg_fraction""",
    }
)
"""Message -> its fields."""

V1_TYPES: Mapping[str, str] = MappingProxyType(
    {
        "ABSVAL": "AbsVal", "ACCURACY": "Accuracy", "ARGMAX": "ArgMax", "BNLL": "BNLL", "CONCAT": "Concat",
        "CONTRASTIVE_LOSS": "ContrastiveLoss", "CONVOLUTION": "Convolution", "DATA": "Data",
        "DECONVOLUTION": "Deconvolution", "DROPOUT": "Dropout", "DUMMY_DATA": "DummyData",
        "ELTWISE": "Eltwise", "EUCLIDEAN_LOSS": "EuclideanLoss", "EXP": "Exp", "FLATTEN": "Flatten",
        "HDF5_DATA": "HDF5Data", "HDF5_OUTPUT": "HDF5Output", "HINGE_LOSS": "HingeLoss", "IM2COL": "Im2col",
        "IMAGE_DATA": "ImageData", "INFOGAIN_LOSS": "InfogainLoss", "INNER_PRODUCT": "InnerProduct",
        "LRN": "LRN", "MEMORY_DATA": "MemoryData", "MULTINOMIAL_LOGISTIC_LOSS": "MultinomialLogisticLoss",
        "MVN": "MVN", "POOLING": "Pooling", "POWER": "Power", "RELU": "ReLU", "SIGMOID": "Sigmoid",
        "SIGMOID_CROSS_ENTROPY_LOSS": "SigmoidCrossEntropyLoss", "SILENCE": "Silence", "SLICE": "Slice",
        "SOFTMAX": "Softmax", "SOFTMAX_LOSS": "SoftmaxWithLoss", "SPLIT": "Split", "TANH": "TanH",
        "THRESHOLD": "Threshold", "WINDOW_DATA": "WindowData",
    }
)  # fmt: skip
"""Layer types of the old form -> their names today."""
