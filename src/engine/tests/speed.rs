//! How long it takes to see that nothing has to be done. Measures; asserts no
//! time. `cargo test --release -- engine::tests::speed --ignored --nocapture`

use std::time::Instant;

use super::lab::{Lab, Toy, pipeline};

#[test]
#[ignore = "measures: 1,000 stages are first made"]
fn a_run_of_a_thousand_stages_that_are_up_to_date() {
    let lab = Lab::new();
    let names: Vec<String> = (0..1_000).map(|i| format!("s{i}")).collect();
    let toy = |i: usize| -> Toy {
        let above: Vec<&str> = [i / 2, i / 3].iter().filter(|_| i > 1).map(|&above| names[above].as_str()).collect();
        lab.toy(&names[i], i as i64).reading(&above)
    };
    let toys = pipeline(&(0..names.len()).map(toy).collect::<Vec<_>>());
    println!("{} stages made", lab.run(&toys).len());
    let time = |what: &str, work: &dyn Fn()| {
        let start = Instant::now();
        work();
        println!("{what}: {:.1} ms", start.elapsed().as_secs_f64() * 1e3);
    };
    for _ in 0..3 {
        time("plan", &|| assert_eq!(lab.plan(&toys).fresh(), 1_000));
        time("run", &|| assert!(lab.run(&toys).is_empty()));
    }
}
