"""Pure, frozen types that every layer shares. Nothing here does I/O."""

from vizdash.model.command_run import CommandRun
from vizdash.model.image import RUNTIMES, Image, ImageRoot, Journal, Matrix, StrayFile, Switch
from vizdash.model.job import Job, JobState
from vizdash.model.node import Gres, Node, Partition
from vizdash.model.request import JobRequest, Resources, SessionRequest
from vizdash.model.reservation import Reservation
from vizdash.model.session import SERVICE_KINDS, Session, SessionState
from vizdash.model.snapshot import Capacity, Snapshot

__all__ = [
    "RUNTIMES",
    "SERVICE_KINDS",
    "Capacity",
    "CommandRun",
    "Gres",
    "Image",
    "ImageRoot",
    "Job",
    "JobRequest",
    "JobState",
    "Journal",
    "Matrix",
    "Node",
    "Partition",
    "Reservation",
    "Resources",
    "Session",
    "SessionRequest",
    "SessionState",
    "Snapshot",
    "StrayFile",
    "Switch",
]
