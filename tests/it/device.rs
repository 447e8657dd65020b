//! `refrain device` and `--device`.

use crate::lab::{Lab, ok};

const PIPELINE: &str = "\
pipeline: small
stages:
  songs:
    kind: read_table
    with: { path: songs.csv }
";

#[test]
fn the_processor_is_checked_against_its_own_tensors() {
    let lab = Lab::new();
    assert_eq!(ok(lab.line("device --device cpu")), "computing on the CPU, as asked\n");
    let said = ok(lab.line("device --device cpu --check"));
    for part in
        ["dot\n", "dot_compress\n", "lists of the processor's model differ", "the device agrees with the processor"]
    {
        assert!(said.contains(part), "{said}");
    }
}

const RANKED: &str = "\
pipeline: ranked
device: cuda:99
stages:
  liked: { kind: read_table, with: { path: liked.csv } }
  split: { kind: split_leave_last_out, inputs: { interactions: liked }, with: { order_by: at } }
  model: { kind: ials, inputs: { split: split }, with: { factors: 2, regularization: 0.01, alpha: 0.1, iterations: 1 } }
  measured: { kind: evaluate, inputs: { split: split, model: model }, with: { k: [1] } }
";

#[test]
fn a_pipelines_device_is_a_default_that_the_user_overrides_and_makes_nothing_stale() {
    let liked = "user_id,item_id,at\na,x,1\na,y,2\na,z,3\nb,x,1\nb,z,2\nb,y,3\n";
    let lab = Lab::with(&[("pipeline.yaml", RANKED), ("liked.csv", liked)]);
    let absent = lab.line("run");
    assert_eq!(absent.code, 2);
    assert!(absent.stderr.contains("device to compute `measured` on; nothing has run"), "{}", absent.stderr);
    assert!(absent.stderr.contains("the device `cuda:99` was asked for, but "), "{}", absent.stderr);
    assert!(absent.stderr.contains("hint: `--device auto` computes on the processor"), "{}", absent.stderr);
    assert!(ok(lab.line("runs")).trim().is_empty(), "nothing ran");
    // The argument goes before the environment, and that before the file.
    let run = |line: &str, device: &str| {
        let output = lab.command(line.split_whitespace()).env("REFRAIN_DEVICE", device).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    for (line, device) in [("run", "cuda:98"), ("run --device cuda:98", "cpu")] {
        let (code, said) = run(line, device);
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains("the device `cuda:98` was asked for, but "), "{said}");
    }
    let (code, said) = run("run --device cpu", "cuda:98");
    assert_eq!(code, Some(0), "{said}");
    ok(lab.line("run"));
    lab.write("pipeline.yaml", &RANKED.replace("device: cuda:99\n", "device: tpu\n"));
    let unknown = lab.line("check");
    assert_eq!(unknown.code, 2);
    assert!(unknown.stderr.contains("pipeline.yaml:2:9"), "{}", unknown.stderr);
    assert!(unknown.stderr.contains("`device`: `tpu` is not a device"), "{}", unknown.stderr);
    assert!(unknown.stderr.contains("hint: `device: auto` computes on"), "{}", unknown.stderr);
}

#[test]
fn a_device_that_is_not_there_or_not_known_is_an_error_with_a_way_out() {
    let lab = Lab::with(&[("pipeline.yaml", PIPELINE), ("songs.csv", "title\none\n")]);
    let unknown = lab.line("run --device cuda:first");
    assert_eq!(unknown.code, 2);
    assert!(unknown.stderr.contains("the devices are auto, cpu, cuda and cuda:N"), "{}", unknown.stderr);
    // No machine has so many.
    let absent = lab.line("device --device cuda:99");
    assert_eq!(absent.code, 2);
    assert!(absent.stderr.contains("the device `cuda:99` was asked for, but "), "{}", absent.stderr);
    assert!(absent.stderr.contains("hint: `--device auto` computes on the processor"), "{}", absent.stderr);
    // What does not compute models runs anywhere.
    ok(lab.line("run --device cuda:99"));
}

#[test]
fn a_model_that_no_gpu_ranks_is_measured_wherever_there_is_a_processor() {
    let liked = "user_id,item_id,at\na,x,1\na,y,2\na,z,3\nb,x,1\nb,z,2\nb,y,3\n";
    let ials = RANKED.lines().find(|line| line.contains("ials")).unwrap();
    let counted = RANKED.replace(ials, "  model: { kind: popularity, inputs: { split: split } }");
    let lab = Lab::with(&[("pipeline.yaml", &counted), ("liked.csv", liked)]);
    ok(lab.line("run --device cuda:99"));
}
