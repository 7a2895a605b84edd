"""The family against `transformers`: states, all gradients, folders with their heads."""

import re

import numpy as np
import pytest

from ser_jax.encoders import wav2vec2
from ser_jax.encoders.load import load
from ser_jax.encoders.relative_position import buckets
from tests.encoders import tiny_wav2vec2 as tiny
from tests.encoders.common import gradients, speech
from tests.reference import wav2vec2 as reference

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

# A loss is the sum of its products with the states of one utterance, 9 steps long.
PROBE = np.random.default_rng(4).normal(size=(3, 1, 9, 24)).astype(np.float32)


def shaken(model, seed=0):
    """With random numbers on top of all parameters and statistics."""
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for _, x in sorted(model.named_parameters()):
            x.add_(0.3 * torch.randn(x.shape, generator=rng))
        for name, x in sorted(model.named_buffers()):
            if name.endswith(("running_mean", "running_var")):
                x.add_(torch.rand(x.shape, generator=rng))
    return model.eval()


def config_of(variant):
    return transformers.AutoConfig.for_model(**tiny.config_of(variant))


def states_of(model, samples):
    """0 to n; the last one after a final norm, which `hidden_states` lacks."""
    found = model(samples, output_hidden_states=True)
    return torch.stack([*found.hidden_states[:-1], found.last_hidden_state])


def our_name(name):
    """The older spelling of weight norm."""
    name = name.replace(".parametrizations.weight.original0", ".weight_g")
    return name.replace(".parametrizations.weight.original1", ".weight_v")


@pytest.mark.parametrize("variant", tiny.VARIANTS)
def test_the_formulas_are_those_of_transformers(variant):
    model = shaken(transformers.AutoModel.from_config(config_of(variant)))
    wave = speech(2900)
    with torch.no_grad():
        expected = states_of(model, torch.tensor(wave[None]))
    tensors = {our_name(name): x.numpy() for name, x in model.state_dict().items()}
    states = reference.states(tensors, tiny.config_of(variant), wave)
    np.testing.assert_allclose(states, expected[:, 0], rtol=1e-4, atol=1e-4)


# The other variants differ by what the formulas of all of them cover.
@pytest.mark.parametrize("variant", ["hubert-batch-norm", "wavlm-stable"])
def test_states_and_gradients_are_those_of_transformers(variant, tmp_path):
    model = shaken(transformers.AutoModel.from_config(config_of(variant)))
    model.save_pretrained(tmp_path)
    extractor = transformers.Wav2Vec2FeatureExtractor(do_normalize="stable" in variant)
    extractor.save_pretrained(tmp_path)
    wave = 0.1 + speech(2900)
    inputs = extractor(wave, sampling_rate=16_000, return_tensors="pt")
    expected = states_of(model, inputs["input_values"])
    (expected * torch.tensor(PROBE)).sum().backward()

    states, grads = gradients(load(str(tmp_path)), [wave], PROBE)
    # Float32 after some hundred operations, states of size 1 to 10.
    np.testing.assert_allclose(states, expected.detach(), rtol=1e-4, atol=1e-4)
    theirs = {our_name(name): x.grad for name, x in model.named_parameters()}
    del theirs["masked_spec_embed"]
    for path, grad in grads.items():
        source = wav2vec2.source_of(tuple(re.findall(r"\w+", path)))
        want = theirs.pop(source.name).numpy()
        if source.axes:
            want = want.transpose(source.axes)
        # Some are roundings of zero, as of a bias that cancels in a softmax.
        atol = 5e-5 + 1e-4 * np.abs(want).max()
        np.testing.assert_allclose(
            grad, want, rtol=1e-3, atol=atol, err_msg=source.name
        )
    assert not theirs


@pytest.mark.parametrize(
    ("variant", "head"),
    [
        ("wav2vec2", "Wav2Vec2ForPreTraining"),
        ("wav2vec2-stable", "Wav2Vec2ForCTC"),
        ("hubert-batch-norm", "HubertForSequenceClassification"),
        ("wavlm", "WavLMForXVector"),
    ],
)
def test_a_model_with_a_head_has_the_same_encoder(variant, head, tmp_path):
    config = config_of(variant)
    config.use_weighted_layer_sum = True
    model = shaken(getattr(transformers, head)(config))
    model.save_pretrained(tmp_path)
    conv = load(str(tmp_path)).front.convs[1].conv
    state = model.state_dict(keep_vars=False)
    prefix = model.base_model_prefix
    weight = state[f"{prefix}.feature_extractor.conv_layers.1.conv.weight"]
    np.testing.assert_array_equal(conv.kernel[...], weight.permute(2, 1, 0))


def test_buckets_are_those_of_transformers():
    attention = transformers.models.wavlm.modeling_wavlm.WavLMAttention(4, 2)
    distances = np.arange(-3000, 3001)
    expected = attention._relative_positions_bucket(torch.tensor(distances))
    np.testing.assert_array_equal(buckets(distances, 320, 800), expected)
