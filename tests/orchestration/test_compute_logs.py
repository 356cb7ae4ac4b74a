"""Compute logs of runs in a bucket, by Dagster's own class and configuration alone."""

import dagster as dg


def test_what_a_step_prints_is_kept_in_a_bucket(gcs, bucket, tmp_path):
    name = bucket.path.rstrip("/")
    settings = {"bucket": name, "prefix": "logs", "local_dir": str(tmp_path / "local")}
    logs = {"module": "dagster_gcp.gcs.compute_log_manager", "class": "GCSComputeLogManager", "config": settings}

    @dg.asset
    def speaking():
        print("said in a step", flush=True)

    with dg.DagsterInstance.local_temp(str(tmp_path), overrides={"compute_logs": logs}) as instance:
        assert dg.materialize([speaking], instance=instance).success
    kept = [path for path in bucket.fs.find(bucket.path) if path.endswith(".out")]
    assert len(kept) == 1
    assert b"said in a step" in bucket.fs.cat_file(kept[0])
    assert "insert" in gcs.counts()
