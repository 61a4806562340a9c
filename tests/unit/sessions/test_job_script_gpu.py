"""The graphics device of a job's GPU, found by a real bash on simulated machines."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from vizdash.util.assets import assets

#: Two GPUs (as nvidia-smi 535 prints them) whose DRI devices count the other way round, behind the
#: board's own graphics.
FIRST = "0, GPU-aaaaaaaa-1111-2222-3333-444444444444, 00000000:3B:00.0"
SECOND = "1, GPU-bbbbbbbb-1111-2222-3333-444444444444, 00000000:AF:00.0"
CARDS = {"0000:03:00.0": "card0", "0000:3b:00.0": "card2", "0000:af:00.0": "card1"}
BOTH = f"{FIRST}\n{SECOND}"


class Played:
    """A machine's /proc, /sys and /dev, and its nvidia-smi."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "bin").mkdir()
        (root / "dev/dri").mkdir(parents=True)
        # No GPU of the machine that runs the test.
        (root / "bin/nvidia-smi").write_text("#!/bin/sh\nexit 9\n")
        (root / "bin/nvidia-smi").chmod(0o755)

    def cards(self, names: dict[str, str] = CARDS) -> None:
        """DRI devices by PCI address."""
        for address, name in names.items():
            (self.root / f"sys/bus/pci/devices/{address}/drm/{name}").mkdir(parents=True)
            (self.root / "dev/dri" / name).touch()

    def smi(self, rows: str) -> None:
        """What nvidia-smi prints to this job."""
        (self.root / "rows").write_text(rows + "\n")
        script = f"#!/bin/sh\nexec {shutil.which('cat')} {self.root}/rows\n"
        (self.root / "bin/nvidia-smi").write_text(script)

    def slices(self, *profiles: str) -> None:
        """What nvidia-smi -L prints: the second GPU in MIG slices of these profiles."""
        lines = ["GPU 0: NVIDIA H100 (UUID: GPU-aaaaaaaa-1111-2222-3333-444444444444)"]
        lines += ["GPU 1: NVIDIA H100 (UUID: GPU-bbbbbbbb-1111-2222-3333-444444444444)"]
        for at, profile in enumerate(profiles):
            lines.append(f"  MIG {profile}     Device  {at}: (UUID: MIG-{at}c9-5)")
        (self.root / "mig").write_text("\n".join(lines) + "\n")
        cat = shutil.which("cat")
        script = f'#!/bin/sh\n[ "$1" = -L ] && exec {cat} {self.root}/mig\n'
        (self.root / "bin/nvidia-smi").write_text(f"{script}exec {cat} {self.root}/rows\n")

    def driver(self) -> None:
        """The NVIDIA driver's /proc (its README, "/proc interface")."""
        for row in (FIRST, SECOND):
            minor, uuid, bus = row.split(", ")
            place = self.root / "proc/driver/nvidia/gpus" / bus[4:].lower()
            place.mkdir(parents=True)
            text = f"Model: \t\t NVIDIA A100\nGPU UUID: \t {uuid}\nDevice Minor: \t {minor}\n"
            (place / "information").write_text(text)

    def renders(self, vendors: dict[str, str], closed: str = "") -> None:
        """Render nodes by PCI address; ``closed`` can't be opened (as a cgroup keeps it)."""
        for at, (address, vendor) in enumerate(vendors.items()):
            place = self.root / f"sys/bus/pci/devices/{address}"
            for name in (f"card{at}", f"renderD{128 + at}"):
                (place / "drm" / name).mkdir(parents=True)
                node = self.root / "dev/dri" / name
                node.mkdir() if address == closed else node.touch()
            (place / "vendor").write_text(f"{vendor}\n")

    def device(self, **given: str) -> str:
        """What ``vglrun -d`` gets in a job with these variables, or why nothing."""
        script = f"source {assets()}/jobs/limit.sh; source {assets()}/jobs/gpu.sh; "
        script += f"runtime={self.root} node=n1; graphics_device; "
        script += 'echo "$gl_device$gl_why"'
        env = {"PATH": f"{self.root}/bin:{os.environ['PATH']}", "VIZDASH_GPU_ROOT": str(self.root)}
        done = subprocess.run(
            ["bash", "-u", "-c", script],
            env=env | given, capture_output=True, text=True, timeout=60, check=True,
        )  # fmt: skip
        assert done.stderr == ""
        return done.stdout.strip()


@pytest.fixture
def played(tmp_path: Path) -> Played:
    return Played(tmp_path)


@pytest.mark.parametrize(
    ("rows", "visible", "device"),
    [
        (BOTH, "0", "/dev/dri/card2"),
        (BOTH, "1", "/dev/dri/card1"),
        (BOTH, "1,0", "/dev/dri/card1"),
        (BOTH, "GPU-bbbb", "/dev/dri/card1"),
        # Devices are constrained: the second GPU is the only one that is seen, and is number 0.
        (SECOND.replace("1,", "0,", 1), "0", "/dev/dri/card1"),
        (SECOND.replace("1,", "0,", 1), "1", "/dev/dri/card1"),
    ],
)
def test_nvidia(played: Played, rows: str, visible: str, device: str) -> None:
    played.cards()
    played.smi(rows)
    assert played.device(CUDA_VISIBLE_DEVICES=visible, SLURM_JOB_GPUS="1") == device


def test_nvidia_without_dri_devices_is_counted(played: Played) -> None:
    played.cards({"0000:03:00.0": "card0"})
    played.smi(BOTH)
    assert played.device(CUDA_VISIBLE_DEVICES="1") == "egl1"


def test_nvidia_without_nvidia_smi(played: Played) -> None:
    played.cards()
    played.driver()
    # The job's own number is 0 where devices are constrained; the driver's list is not.
    assert played.device(CUDA_VISIBLE_DEVICES="0", SLURM_JOB_GPUS="1") == "/dev/dri/card1"
    assert played.device(CUDA_VISIBLE_DEVICES="1") == "/dev/dri/card1"
    assert played.device(CUDA_VISIBLE_DEVICES="GPU-aaaaaaaa") == "/dev/dri/card2"


def test_amd_beside_the_boards_own_graphics(played: Played) -> None:
    vendors = {"0000:03:00.0": "0x8086", "0000:3b:00.0": "0x1002", "0000:af:00.0": "0x1002"}
    played.renders(vendors)
    assert played.device(ROCR_VISIBLE_DEVICES="1") == "/dev/dri/card2"
    assert played.device(ROCR_VISIBLE_DEVICES="0") == "/dev/dri/card1"


def test_amd_where_devices_are_constrained(played: Played) -> None:
    vendors = {"0000:3b:00.0": "0x1002", "0000:af:00.0": "0x1002"}
    played.renders(vendors, closed="0000:3b:00.0")
    assert played.device(ROCR_VISIBLE_DEVICES="0") == "/dev/dri/card1"


@pytest.mark.parametrize(
    ("visible", "why"),
    [
        ("0", "no graphics device on n1 is known to be the GPU that the job was given"),
        ("MIG-1234", "MIG-1234 is a MIG slice, which has no graphics"),
    ],
)
def test_none_is_known(played: Played, visible: str, why: str) -> None:
    assert played.device(CUDA_VISIBLE_DEVICES=visible) == why


@pytest.mark.parametrize(
    ("device", "given", "left"),
    [
        ("", {"CUDA_VISIBLE_DEVICES": "0"}, ""),
        ("", {"ROCR_VISIBLE_DEVICES": "0", "GPU_DEVICE_ORDINAL": "0"}, ""),
        ("", {"CUDA_VISIBLE_DEVICES": "0", "SLURM_JOB_GPUS": "3"}, "0"),
        ("nvidiactl", {"CUDA_VISIBLE_DEVICES": "NoDevFiles"}, ""),
        ("nvidiactl", {"CUDA_VISIBLE_DEVICES": "-1"}, ""),
        # A site that hands out GPUs without Slurm.
        ("nvidiactl", {"CUDA_VISIBLE_DEVICES": "1"}, "1"),
        ("kfd", {"ROCR_VISIBLE_DEVICES": "1"}, "1"),
        ("", {"CUDA_VISIBLE_DEVICES": "1", "VIZDASH_ENGINE": "local"}, "1"),
    ],
)
def test_a_gpu_that_only_the_users_settings_name_is_none(
    tmp_path: Path, device: str, given: dict[str, str], left: str
) -> None:
    """Login files may set these variables on every node."""
    (tmp_path / "dev").mkdir()
    if device:
        (tmp_path / "dev" / device).touch()
    script = f"source {assets()}/jobs/gpu.sh; forget_other_gpus; "
    script += "printf '%s' "
    script += '"${CUDA_VISIBLE_DEVICES:-}${ROCR_VISIBLE_DEVICES:-}${GPU_DEVICE_ORDINAL:-}"'
    env = {"PATH": os.environ["PATH"], "VIZDASH_GPU_ROOT": str(tmp_path), "VIZDASH_ENGINE": "slurm"}
    done = subprocess.run(
        ["bash", "-u", "-c", script],
        env=env | given, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == (left, "")


def test_a_mig_slice_draws_only_with_graphics_in_its_profile(played: Played) -> None:
    played.cards()
    played.smi(BOTH)
    played.slices("1g.12gb", "1g.12gb+gfx")
    why = "MIG-0c9-5 is a MIG slice of profile 1g.12gb, which computes only (no +gfx)"
    assert played.device(CUDA_VISIBLE_DEVICES="MIG-0c9-5") == why
    assert played.device(CUDA_VISIBLE_DEVICES="MIG-1c9-5") == "/dev/dri/card1"


def _egl(root: Path, *, there: str, image: str, before: str = "") -> str:
    """The app's setting for EGL in an image, with the driver's entry on the host and in it."""
    for side, places in (("host", there), ("image", image)):
        for place in places.split():
            folder = root / side / place
            folder.mkdir(parents=True)
            (folder / "10_nvidia.json").write_text("{}")
    (root / "runtime").mkdir()
    script = (
        f"source {assets()}/jobs/image.sh; source {assets()}/jobs/environment.sh; "
        f"runtime={root}/runtime; VIZDASH_GPU_ROOT={root}/host; copy_egl_vendor; "
        f"VIZDASH_GPU_ROOT={root}/image; {before} inner_egl_vendor $runtime; "
        'printf "%s" "${__EGL_VENDOR_LIBRARY_DIRS:-}"'
    )
    done = subprocess.run(
        ["bash", "-u", "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize("there", ["usr/share/glvnd/egl_vendor.d", "etc/glvnd/egl_vendor.d"])
def test_an_image_without_the_drivers_entry_for_egl_gets_it(tmp_path: Path, there: str) -> None:
    places = "/etc/glvnd/egl_vendor.d:/usr/share/glvnd/egl_vendor.d"
    assert _egl(tmp_path, there=there, image="") == f"{tmp_path}/runtime/egl:{places}"
    assert (tmp_path / "runtime/egl/10_nvidia.json").exists()


@pytest.mark.parametrize(
    ("there", "image", "before"),
    [
        ("", "", ""),
        ("usr/share/glvnd/egl_vendor.d", "usr/share/glvnd/egl_vendor.d", ""),
        ("usr/share/glvnd/egl_vendor.d", "", "__EGL_VENDOR_LIBRARY_FILENAMES=/own.json;"),
    ],
)
def test_other_images_and_settings_are_left_alone(
    tmp_path: Path, there: str, image: str, before: str
) -> None:
    assert _egl(tmp_path, there=there, image=image, before=before) == ""
