"""What a training may cost: the memory of a GPU, or hours of CPU cores."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Budget", "CPU_RATE", "FULL_STEPS"]

# multiplications a second that one core of 2021 (AVX2) reaches while training; a step costs three forward passes
CPU_RATE = 15e9
PASSES = 3
FEWEST_STEPS = 4000
TRAINING_SHARE = 0.8  # of the hours; validation takes the rest
FULL_STEPS = 250_000  # nnU-Net's 1000 epochs of 250 steps


@dataclass(frozen=True)
class Budget:
    """A GPU's memory, or cores and hours of a CPU.

    Args:
        gpu_gb: memory of the GPU in GB; 0 to train on a CPU.
        cores: cores of the CPU.
        hours: hours that the training of one fold may take on the CPU.

    Raises:
        ValueError: a number is not positive.

    Example:
        >>> Budget(cores=2, hours=1).describe()
        '2 CPU cores for 1 h a fold'
    """

    gpu_gb: float = 0
    cores: int = 0
    hours: float = 0

    def __post_init__(self) -> None:
        if self.gpu_gb < 0 or (self.gpu_gb == 0 and (self.cores < 1 or self.hours <= 0)):
            raise ValueError(f"the budget {self.numbers()} is none: give --gpu-gb, or --cpu-cores with --hours")

    @property
    def on_cpu(self) -> bool:
        """Whether time is short instead of memory."""
        return self.gpu_gb == 0

    def numbers(self) -> dict[str, float]:
        """The numbers that were given."""
        return {"gpu_gb": self.gpu_gb} if self.gpu_gb else {"cpu_cores": self.cores, "hours": self.hours}

    def describe(self) -> str:
        """The budget in words."""
        if self.on_cpu:
            return f"{self.cores} CPU core{'s' if self.cores > 1 else ''} for {self.hours:g} h a fold"
        return f"a GPU with {self.gpu_gb:g} GB"

    def seconds(self, multiplications: float, batch_size: int) -> float:
        """Seconds that a training step is expected to take on the CPU.

        Args:
            multiplications: of one forward pass of one patch.
            batch_size: patches of a step.
        """
        return PASSES * multiplications * batch_size / (CPU_RATE * self.cores)

    @property
    def step_limit(self) -> float:
        """Seconds that a step may take so that enough of them fit into the hours."""
        return self.hours * 3600 * TRAINING_SHARE / FEWEST_STEPS

    def steps(self, seconds: float) -> int:
        """Steps that fit into the hours, at most as many as nnU-Net takes.

        Args:
            seconds: of one step.
        """
        return max(1, min(FULL_STEPS, int(self.hours * 3600 * TRAINING_SHARE / seconds)))
