"""How records are written: to the same bytes whenever the example is the same."""

from tensorflow_datasets.core import writer
from tensorflow_datasets.proto import tf_example_pb2


class RecordWriter(writer.ExampleWriter):
    """TFDS's writer, of records whose fields stand in one order.

    TFDS leaves the order to protobuf's maps, where it changes from process to process.
    """

    def write(self, path, examples):
        """As `ExampleWriter.write`."""
        return super().write(
            path, ((key, _ordered(record)) for key, record in examples)
        )


def _ordered(record: bytes) -> bytes:
    example = tf_example_pb2.Example.FromString(record)
    return example.SerializeToString(deterministic=True)
