"""How training can fail; after each of these the model that serves is the one that served before."""

from model.errors import ModelError


class TrainingFailed(ModelError):
    """No adapter was made. What was saved on the way stays in the work folder."""


class RowsRefused(TrainingFailed):
    """The rows cannot be trained on: none, malformed, nothing to learn in them, or too many too long."""


class NotFinite(TrainingFailed):
    """The loss or a gradient became infinite or no number."""


class OutOfMemory(TrainingFailed):
    """The machine or the GPU has too little memory for this training."""


class NothingLearned(TrainingFailed):
    """Training ended and no weight had changed, or none could."""


class TrainingStopped(TrainingFailed):
    """Somebody stopped it. The same job goes on from its last checkpoint."""


class OutputExists(TrainingFailed):
    """The folder for the adapter is there already; adapters are never overwritten."""
