"""Every core that stands alone, by name: how to make it, and what its header says."""

from spikeloom_hdl.catalogue.core import Core, make_core
from spikeloom_hdl.catalogue.encoders import ENCODER_CORES
from spikeloom_hdl.catalogue.network import NETWORK_CORES

__all__ = ["CORES", "Core", "make_core"]

CORES: dict[str, Core] = {**NETWORK_CORES, **ENCODER_CORES}
