"""Pure, frozen types that every layer shares. Nothing here does I/O."""

from vizdash.model.image import RUNTIMES, Image, Matrix, Place, Stray
from vizdash.model.job import Job, JobState
from vizdash.model.journal import Journal, Switch
from vizdash.model.node import Gres, Node, Partition
from vizdash.model.ran import Ran
from vizdash.model.request import JobRequest, Resources, SessionRequest
from vizdash.model.reservation import Reservation
from vizdash.model.session import Session, SessionState
from vizdash.model.snapshot import Capacity, Snapshot

__all__ = [
    "RUNTIMES",
    "Capacity",
    "Gres",
    "Image",
    "Job",
    "JobRequest",
    "JobState",
    "Journal",
    "Matrix",
    "Node",
    "Partition",
    "Place",
    "Ran",
    "Reservation",
    "Resources",
    "Session",
    "SessionRequest",
    "SessionState",
    "Snapshot",
    "Stray",
    "Switch",
]
