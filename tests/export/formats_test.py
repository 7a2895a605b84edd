"""Constants of ONNX files are stored once, and mean what they meant."""

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

from onnx import helper, numpy_helper

from ser_jax.export import formats


def test_repeated_constants_are_stored_once_and_equal():
    rng = np.random.default_rng(0)
    row = rng.standard_normal((1, 60)).astype(np.float32)
    full = rng.standard_normal((50, 60)).astype(np.float32)
    constants = {
        "zeros": np.zeros((50, 60), np.float32),
        "rows": np.repeat(row, 50, axis=0),
        "full": full,
        "again": full.copy(),
        "small": np.float32(3),
    }
    graph = helper.make_graph(
        [helper.make_node("Sum", ["x", *constants], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, (50, 60))],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, (50, 60))],
        [numpy_helper.from_array(v, k) for k, v in constants.items()],
    )
    formats.compress_constants(graph)
    assert sum(np.prod(x.dims) for x in graph.initializer) == 1 + 60 + 3_000 + 1 + 2
    opset = helper.make_opsetid("", formats.OPSET)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    got = session.run(None, {"x": np.ones((50, 60), np.float32)})[0]
    expected = 1 + row + 2 * full + 3
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)  # float32 sums
