"""What is kept: the run folder, the ledger of finished chunks, results, manifest, verification, resume.

In the order a run needs it::

    folder.check_target(out)                             # before the inputs are read: fail early
    with folder.create_run(out, inputs={"config.toml": b"...", "book/positions.csv": path, ...}, settings={"device": "cpu", ...},
                           identity=manifest.identity(), expected={"book/positions.csv": sha256}) as run:
        run.log.info("scenarios", count=100_000)         # run.log.jsonl; secrets, positions, home folders are kept out
        done = chunks.run_chunks(run, [(0, 16384), ...], compute, merge, progress)   # compute(first, last, carry) -> TailState
        finish.finish_run(run, Results(margin={...}, ...), Provenance(...), report=lambda folder: html)

`run_chunks(None, ...)` works in memory alone. `done.state` is the merged TailState, `done.timings` has seconds of
`compute, merge, ledger`; `write_share=None` writes every chunk (an explicit `--chunk`), else neighbours are written
together so that writing costs at most that share of the time computed. Several scenario sets of one run take
`scenario_set=0, 1, ...`.

`upm resume RUN`: `with resume.open_for_resume(path) as run:`; where `run.finished`, nothing is left to do; else build the same
engine from `run.inputs` (a folder) and `run.settings`, and call `run_chunks` and `finish_run` as above: chunks in the
ledger are not computed again. `run.warnings` holds what must be said aloud. `upm verify RUN`: `verify.verify_run(path)`.
`upm report RUN`: `with open_for_resume(path) as run: finish.replace_file(run, "report.html", html)`.

Tables are mappings of column name to array or list, or data frames. Errors: UsageError 2, InputError 3, CapacityError 7,
RunInterrupted 8, IntegrityError 9, codes UPM-RN-001 to 023.
"""
