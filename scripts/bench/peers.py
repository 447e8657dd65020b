"""The peers: DVC and Snakemake doing the same, where they are installed.

    python3 -m venv v && v/bin/pip install dvc snakemake
    PEERS=v make bench
"""

import os
import shutil

from measure import run


def found(name):
    """Where a peer's program is, or None: in the venv that PEERS names, or on PATH."""
    venv = os.environ.get("PEERS")
    inside = os.path.abspath(os.path.join(venv, "bin", name)) if venv else None
    return inside if inside and os.access(inside, os.X_OK) else shutil.which(name)


class Dvc:
    """`dvc repro` over chains of ten copies."""

    name = "DVC"
    # Beyond, its first run takes many minutes.
    most_stages = 100

    def __init__(self, program, folder, stages):
        self.program, self.folder = program, folder
        with open(os.path.join(folder, "two.csv"), "w") as file:
            file.write("a,b\n1,2\n3,4\n")
        with open(os.path.join(folder, "dvc.yaml"), "w") as file:
            file.write("stages:\n")
            for i in range(stages):
                above = "two.csv" if i % 10 == 0 else f"o{i - 1}.csv"
                file.write(f"  s{i}:\n    cmd: cp {above} o{i}.csv\n    deps: [{above}]\n    outs: [o{i}.csv]\n")
        run([program, "init", "--no-scm", "-q"], folder)

    def go(self):
        """Runs what is not done."""
        environment = {**os.environ, "DVC_NO_ANALYTICS": "1"}
        return run([self.program, "repro", "-q"], self.folder, environment)


class Snakemake:
    """`snakemake` over chains of ten shell rules."""

    name = "Snakemake"
    most_stages = 1000

    def __init__(self, program, folder, stages):
        self.program, self.folder = program, folder
        with open(os.path.join(folder, "Snakefile"), "w") as file:
            file.write(
                f'rule all:\n    input: expand("{{i}}.txt", i=range({stages}))\n'
                "def above(w):\n    return [] if int(w.i) % 10 == 0 else [f'{int(w.i) - 1}.txt']\n"
                'rule one:\n    input: above\n    output: "{i}.txt"\n    shell: "echo {wildcards.i} > {output}"\n')

    def go(self):
        """Runs what is not done."""
        return run([self.program, "-c", str(os.cpu_count()), "-q", "all"], self.folder)


def installed():
    """The peers that are installed, each with its program."""
    programs = [(peer, found(peer.name.lower())) for peer in (Dvc, Snakemake)]
    return [(peer, program) for peer, program in programs if program]
