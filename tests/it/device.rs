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
        ["dot\n", "dot_compress\n", "ranks of the processor's model differ", "the device agrees with the processor"]
    {
        assert!(said.contains(part), "{said}");
    }
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
