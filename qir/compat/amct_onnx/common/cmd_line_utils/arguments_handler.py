"""As AMCT's module of this name: what the texts of options stand for."""

from qir.compat.common.raw_batches import process_data_shape, process_multi_data_path

__all__ = ["process_data_shape", "process_multi_data_path"]
