//! The baselines against their definitions, written out the naive way.

use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray};
use proptest::prelude::*;

use super::ease::ease;
use super::ials::{Ials, IalsOptions, ials};
use super::interactions::{Interactions, Part};
use super::item_knn::item_knn;
use super::scoring::ScoringModel;
use super::two_tower::Tensor;
use crate::ground::Seed;
use crate::table::Table;

const ITEMS: usize = 9;

/// Users who have the items of the bits that are set, all of them in train.
fn interactions(users: &[u16]) -> Interactions {
    let mut columns = [const { Vec::new() }; 3];
    let mut push = |user: String, item: usize, part: &str| {
        columns.iter_mut().zip([user, item.to_string(), part.to_owned()]).for_each(|(column, cell)| column.push(cell));
    };
    // So that there are all items, whoever has them.
    (0..ITEMS).for_each(|item| push("1000".to_owned(), item, "test"));
    for (user, has) in users.iter().enumerate() {
        (0..ITEMS).filter(|item| has >> item & 1 == 1).for_each(|item| push(user.to_string(), item, "train"));
    }
    let names = ["user_id", "item_id", "part"];
    let arrays = columns.map(|column| Arc::new(StringArray::from(column)) as ArrayRef);
    Interactions::of_table(&Table::of_columns(names.into_iter().zip(arrays)).unwrap()).unwrap()
}

fn matrix(split: &Interactions) -> Vec<Vec<f64>> {
    let sets = split.sets(&[Part::Train]);
    let row = |user| (0..ITEMS as u32).map(|item| f64::from(u8::from(sets.of_user(user).contains(&item)))).collect();
    (0..split.users.len() as u32).map(row).collect()
}

fn gram(x: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let entry = |i: usize, j: usize| x.iter().map(|row| row[i] * row[j]).sum();
    (0..ITEMS).map(|i| (0..ITEMS).map(|j| entry(i, j)).collect()).collect()
}

/// By Gauss and Jordan.
fn inverse(mut a: Vec<Vec<f64>>) -> Vec<Vec<f64>> {
    let n = a.len();
    let mut out: Vec<Vec<f64>> = (0..n).map(|i| (0..n).map(|j| f64::from(u8::from(i == j))).collect()).collect();
    for pivot in 0..n {
        let scale = a[pivot][pivot];
        a[pivot].iter_mut().chain(&mut out[pivot]).for_each(|value| *value /= scale);
        for row in (0..n).filter(|row| *row != pivot) {
            let factor = a[row][pivot];
            for column in 0..n {
                a[row][column] -= factor * a[pivot][column];
                out[row][column] -= factor * out[pivot][column];
            }
        }
    }
    out
}

fn scores(split: &Interactions, tensors: &[Tensor]) -> Vec<f32> {
    let model = ScoringModel::of_tensors(tensors, split).unwrap();
    let users: Vec<u32> = (0..split.users.len() as u32).collect();
    model.prepare().scores(&users)
}

fn close(actual: &[f32], expected: &[f64]) -> Result<(), TestCaseError> {
    prop_assert_eq!(actual.len(), expected.len());
    for (actual, expected) in actual.iter().zip(expected) {
        prop_assert!((f64::from(*actual) - expected).abs() < 1e-5, "{} {}", actual, expected);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn ease_is_its_closed_form(users in proptest::collection::vec(0_u16..512, 1..12), lambda in 0.5_f64..600.0) {
        let split = interactions(&users);
        let x = matrix(&split);
        let mut a = gram(&x);
        (0..ITEMS).for_each(|i| a[i][i] += lambda);
        let p = inverse(a);
        let b = |j: usize, i: usize| if i == j { 0.0 } else { -p[j][i] / p[i][i] };
        let expected: Vec<f64> =
            x.iter().flat_map(|row| (0..ITEMS).map(|i| (0..ITEMS).map(|j| row[j] * b(j, i)).sum())).collect();
        close(&scores(&split, &[ease(&split, lambda).unwrap()]), &expected)?;
    }

    #[test]
    fn item_knn_is_the_sum_over_each_items_own_neighbours(
        users in proptest::collection::vec(0_u16..512, 1..12),
        k in 1_usize..12,
    ) {
        let split = interactions(&users);
        let x = matrix(&split);
        let g = gram(&x);
        let neighbours = |i: usize| {
            let cosine = |j: usize| if g[i][j] > 0.0 { g[i][j] / (g[i][i] * g[j][j]).sqrt() } else { 0.0 };
            let mut all: Vec<(usize, f64)> = (0..ITEMS).filter(|j| *j != i).map(|j| (j, cosine(j))).collect();
            all.sort_by(|a, b| b.1.total_cmp(&a.1));
            all.truncate(k);
            all
        };
        let expected: Vec<f64> = x
            .iter()
            .flat_map(|row| (0..ITEMS).map(|i| neighbours(i).iter().map(|(j, s)| row[*j] * s).sum()))
            .collect();
        let tensors = item_knn(&split, k, &|_| true).unwrap();
        close(&scores(&split, &tensors), &expected)?;
    }

    #[test]
    fn every_half_step_of_ials_lowers_its_objective(
        users in proptest::collection::vec(0_u16..512, 2..12),
        alpha in 0.05_f64..2.0,
        regularization in 0.001_f64..1.0,
    ) {
        let split = interactions(&users);
        let options = IalsOptions { factors: 3, regularization, alpha, iterations: 1 };
        let mut model = Ials::new(&split, options, Seed::of_stage(1, "ials"));
        let mut before = model.objective();
        for _ in 0..4 {
            for step in [Ials::solve_users, Ials::solve_items] {
                step(&mut model, &|_| true).unwrap();
                let now = model.objective();
                prop_assert!(now <= before + 1e-9 * before.abs(), "{} after {}", now, before);
                before = now;
            }
        }
    }
}

#[test]
fn a_baseline_that_is_stopped_gives_nothing_and_threads_decide_nothing() {
    let split = interactions(&[3, 7, 12, 500, 96]);
    let options = IalsOptions { factors: 4, regularization: 0.01, alpha: 0.1, iterations: 3 };
    let seed = Seed::of_stage(0, "ials");
    assert!(ials(&split, options, seed, &|_| false).is_none());
    assert!(item_knn(&split, 3, &|_| false).is_none());
    let made = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| (ials(&split, options, seed, &|_| true), item_knn(&split, 3, &|_| true)))
    };
    assert_eq!(made(1), made(4));
    let other = ials(&split, options, Seed::of_stage(1, "ials"), &|_| true);
    assert_ne!(made(1).0, other, "the seed decides");
}

#[test]
fn weights_that_do_not_fit_are_named() {
    let split = interactions(&[3, 7]);
    let tensor = |name: &str, shape: &[usize], value: f32| Tensor {
        name: name.to_owned(),
        shape: shape.to_vec(),
        values: vec![value; shape.iter().product()],
    };
    let refused = |tensors: &[Tensor]| ScoringModel::of_tensors(tensors, &split).unwrap_err().to_string();
    assert!(refused(&[tensor("item_item", &[3, 3], 0.0)]).contains("`item_item`"));
    let near = tensor("neighbours", &[ITEMS, 2], 1.0);
    assert!(refused(std::slice::from_ref(&near)).contains("`similarities`"));
    let far = tensor("neighbours", &[ITEMS, 2], 99.0);
    assert!(refused(&[far, tensor("similarities", &[ITEMS, 2], 1.0)]).contains("`neighbours`"));
}
