"""Every config key, with its unit and reason. Systems override, never add groups.

Values are plain; the tree is locked, so a mistyped key is an error.
"""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder


def get_config() -> ConfigDict:
    """The defaults every system starts from."""
    config = ConfigDict()

    # {key: values}: every combination is a point, trained on all folds and seeds; in each
    # fold validation chooses the point that is tested; None = no sweep
    config.sweep = placeholder(object)

    # Where the speech comes from and how it is stored. --------------------------
    config.data = data = ConfigDict()
    # manifest | demo | multi | a name that `run.py corpora` lists
    data.corpus = "iemocap"
    data.root = ""  # the corpus's folder; '' = $IEMOCAP_ROOT, $EMODB_ROOT ...
    data.manifest = ""  # CSV with the columns path, emotion, speaker (corpus=manifest)
    # Corpora of corpus=multi: {name: folder or manifest}; '' = $EMODB_ROOT, ..., demo
    data.corpora = placeholder(object)
    data.label_map = placeholder(object)  # {label: class} or pairs; None = as it is
    # Classes that corpora have in common: basic4 | basic6 | arousal2 | valence2; '' = the
    # labels as they are (corpora/taxonomy.py)
    data.taxonomy = ""
    # corpus=multi: {corpus: {label: class}}, wins over the taxonomy; '' = leave out
    data.label_maps = placeholder(object)
    data.strict = True  # full IEMOCAP must have its published counts; False warns
    # Where built datasets live, gs:// and s3:// too; '' = TFDS's own default folder
    data.tfds_dir = ""
    # A key of ser_jax.features.spec.RECIPES | encoder: hidden states, see `encoder` |
    # waveform: the samples, for an encoder that is tuned
    data.recipe = "logmel128"
    data.file_format = "tfrecord"  # tfrecord (extra `tfrecord`) | array_record
    data.vtlp_copies = 7  # VTLP variants stored beside each utterance (paper: 7)
    # textbook (Jaitly & Hinton) | nlpaug (its variant) | speed, of recipe=encoder: copies
    # are faster or slower, their pitch and formants with them
    data.vtlp_mode = "textbook"
    data.vtlp_low = 0.8  # smallest warp factor
    data.vtlp_high = 1.2  # largest warp factor
    data.min_duration_s = 0.1  # shorter recordings are excluded and listed
    # as_is | unit: each recording is scaled to zero mean and unit variance, as the ACRNN
    # paper does; how loud a voice is, is then gone
    data.level = "as_is"
    data.keep_silent = False  # use silent and constant recordings; else excluded, too
    # Recordings with the same samples: apart = no fold learns from a copy of what it
    # tests | first = the first one is used | ignore; but for ignore, copies under
    # labels of two classes are left out
    data.duplicates = "apart"
    data.merge_spellings = False  # take `Angry` and `angry`, `3` and `03` as one
    data.num_workers = 0  # when features are built; 0 = all cores
    data.demo_turns = 12  # corpus=demo: labelled turns per dialog
    data.demo_seed = 0  # corpus=demo: another seed makes another corpus
    # Channels the model sees: 1 static, 2 + delta, 3 + delta-delta; 0 = all
    data.channels = 1
    # none | z-score per band with the mean of the fold's training part: fold | or of the
    # recording's own corpus or speaker, tested ones too, which is stamped
    data.normalize = "none"
    data.pad = "after_norm"  # after_norm, masked | before_norm: zeros count as speech
    data.text = "none"  # none | transcript | asr: the words a model with text reads
    data.recognizer = ""  # whisper-tiny.en (extra `asr`) fills asr_text when building
    data.word_vectors = "glove-6b-50d"  # or spacy-md-300d, or a GloVe text file
    data.max_words = 128  # longer texts are cut
    # auto | device: the frames lie on each device | host: every call's segments are cut
    # from a mapped file and sent, for corpora that do not fit (training/feeder.py)
    data.frames_on = "auto"
    data.device_share = 0.5  # auto: of a device's memory that frames may take, 0 to 1
    # Where flat files of features and, of a bucket, datasets lie; '' = beside the dataset,
    # of a bucket's in ~/.cache/ser_jax
    data.cache_dir = ""
    data.speaker_embeddings = ""  # .npz with `id` [U] and `vector` [U, X]; '' = none

    # A pretrained speech encoder, whose hidden states are the frames (docs/encoders.md). -
    config.encoder = encoder = ConfigDict()
    # '' = none | whisper-tiny.en | whisper-base (extra `encoders`) | a hub's folder:
    # Whisper, wav2vec 2.0, HuBERT or WavLM
    encoder.weights = ""
    encoder.digest = ""  # of those weights; a training fills it in
    # Hidden states that are read: 0 enters the first layer, n leaves layer n; () = all
    encoder.layers = ()
    encoder.pool_s = 0.1  # a frame is the mean of so much; in whole steps of 0.02 s

    # frozen: states are computed once, beforehand (data.recipe=encoder) | lora: adapters
    # of the attention learn | full: its layers learn (both with data.recipe=waveform)
    encoder.tuning = "frozen"
    encoder.lora_rank = 8  # lora: of the adapters
    encoder.lora_alpha = 16.0  # lora: their scale is alpha / rank
    # Learning rate of all that learns of the encoder, beside the head's; of the layer i
    # of n times layer_decay^(n - i)
    encoder.learning_rate_factor = 1.0
    encoder.layer_decay = 1.0
    encoder.train_front = False  # full: the convolutions before the layers learn, too
    # In training so much of the steps of 0.02 s is hidden, in stretches of mask_steps
    encoder.mask_share = 0.0
    encoder.mask_steps = 10
    # ... and so much of what enters the first layer, in bands of mask_channels
    encoder.mask_channel_share = 0.0
    encoder.mask_channels = 10
    encoder.remat = False  # compute layers again in the backward pass: less memory
    encoder.dtype = "float32"  # lora, full: of its computation | bfloat16

    # Utterances are cut into segments; the utterance is the unit that is scored. ---
    config.segment = segment = ConfigDict()
    # slide | tile | tile_padded | first_last | first | whole (features/segments.py)
    segment.rule = "slide"
    segment.window_s = 2.0  # rule=whole: longer utterances are cut here
    segment.buckets = 4  # rule=whole: lengths are rounded up to this many sizes
    # rule=first_last: classes that slide in training, by any name of their emotion
    segment.dense_classes = ()
    segment.train_step_s = 1.0
    segment.test_step_s = 0.4
    segment.short = "pad"  # pad | drop (the paper) utterances of window_s or less
    segment.vote = "mean"  # mean | max of the segments' posteriors

    # What may be compared with what. -----------------------------------------------
    config.protocol = protocol = ConfigDict()
    protocol.subset = "all"  # improvised | scripted | all
    protocol.happy = "hap+exc"  # hap | exc | hap+exc: what the class `happy` holds
    # session5 | session5_script | speaker10 | random_811 | random_80_20 | group
    # | official (the corpus's own parts) | corpus (leave one out) | pairs (train on
    # each, test on all others)
    protocol.split = "session5"
    protocol.group_by = "speaker"  # split=group: column whose values are kept together
    protocol.groups = 0  # split=group: number of folds; 0 = one per value
    protocol.seeds = (0,)  # every fold is trained once per seed
    protocol.selection = "val"  # val | last | test ("paper mode", stamped everywhere)
    # Score the test part at every validation as well, only to report what choosing the
    # epoch on it would add: it chooses and stops nothing; validating takes twice as long
    protocol.compare_selections = False
    protocol.validation = "speaker"  # speaker | group | random: who validates
    protocol.val_fraction = 0.1  # validation=random: share of the training utterances

    # Changes made to training segments only. ---------------------------------------
    config.augment = augment = ConfigDict()
    # all copies every epoch | one drawn per epoch | online: a new factor for every
    # example and step, no copies are stored | none
    augment.vtlp = "all"
    augment.mixup_alpha = 0.0  # Beta(alpha, alpha) mixing of pairs; 0 = off
    augment.freq_mask_bands = 0  # SpecAugment: widest masked band; 0 = off
    augment.time_mask_frames = 0  # SpecAugment: longest masked stretch; 0 = off

    # The system; each config file adds its own keys here. --------------------------
    config.model = model = ConfigDict()
    model.name = ""  # a key of ser_jax.models.MODELS
    model.width = 1.0  # multiplies every channel count
    model.dtype = "float32"  # computation; parameters stay float32 | bfloat16

    # One run's recipe; all folds x seeds share it. -----------------------------------
    config.train = train = ConfigDict()
    # Lengths are counted in epochs or, where folds of few batches make epochs short, in
    # updates (steps of a run): of each pair of keys one is 0, and the other counts.
    train.epochs = 100
    train.updates = 0
    # Updates between validations; 0 = after every epoch, which folds differ in
    train.validate_updates = 0
    train.batch_size = 32  # segments
    train.eval_batch_size = 64  # segments
    # all segments an epoch | as many of every class: balanced | of every corpus: corpus
    # | of every class of every corpus: corpus_class
    train.sampling = "all"
    train.per_class = 0  # but for all: segments of each per epoch; 0 = the mean
    train.learning_rate = 1e-4
    train.beta1 = 0.9  # Adam's decay rates
    train.beta2 = 0.999
    train.nesterov = False  # Adam with Nesterov momentum
    train.schedule = "time_decay"  # constant | time_decay | cosine | step
    train.decay_rate = 1e-6  # time_decay: lr / (1 + decay_rate * step)
    train.decay_epochs = 10  # step: lr is divided by ten every so many epochs
    train.decay_updates = 0
    train.warmup_epochs = 0.0  # linear warm-up, any schedule
    train.warmup_updates = 0
    train.weight_decay = 0.0  # decoupled (AdamW), kernels only
    train.l2 = 0.0  # added to the gradient, times the weights: PyTorch's Adam
    train.label_smoothing = 0.0
    train.class_weights = "none"  # none | balanced (training part of the fold)
    train.center_weight = 0.0  # center loss's lambda; 0 = off
    train.center_rate = 0.5  # center loss's alpha: how fast centres follow
    train.squared_error_weight = 0.0  # of the outputs' squared error; 0 = off
    train.grad_clip_norm = 0.0  # 0 = off
    # Validated and tested is the moving average of the weights over the updates, which
    # keeps this much of the past at each; 0 = the weights themselves
    train.ema_decay = 0.0
    train.early_stop_epochs = 0  # epochs without a better validation UA; 0 = off
    train.early_stop_updates = 0
    # Sweeps, of the points that train in one program: at each rung only one in so many goes
    # on, fold by fold, by validation; 0 = all do. Rungs are at this share of the length,
    # and so many times further each
    train.halving = 0
    train.first_rung = 0.25
    # Between checkpoints, which are written after a validation only
    train.checkpoint_epochs = 1
    train.checkpoint_updates = 0
    train.runs_per_device = "auto"  # loop | map | vmap | auto (training/autotune.py)
    train.runs_per_call = 0  # map, vmap: runs a device takes at once; 0 = what fits
    train.devices = 0  # accelerators to use; 0 = all
    train.baseline = False  # at the end `run.py baseline`: a linear SVM, same folds
    # A profiler trace of so many steps goes to workdir/profile, for TensorBoard's
    # plugin xprof or ui.perfetto.dev; 0 = off
    train.profile_steps = 0
    train.steps_per_call = 0  # steps compiled into one call; 0 = auto; buckets: 1

    # The figure the report puts beside ours, and the protocol it was made under. -----
    config.published = published = ConfigDict()
    published.paper = ""
    published.wa = placeholder(float)  # fraction; None = not published
    published.ua = placeholder(float)  # fraction; None = not published
    published.corpus = ""
    published.subset = ""
    published.happy = ""
    published.split = ""
    published.selection = ""

    return config.lock()
