//! The training as a whole: it learns, it repeats itself, it says when it stalls.

use std::sync::atomic::{AtomicU64, Ordering};

use super::options::{Activation, Decay, Loss, Selection, TrainingOptions, Widths};
use super::parameters::Tensor;
use super::test_data::{features, random_split};
use super::train::{Epoch, Observer, Trained, TrainingError, train};
use crate::ground::Seed;
use crate::metrics::rank_of;
use crate::model::interactions::Part;
use crate::model::ranking::Lists;
use crate::model::scoring::ScoringModel;

/// Counts, and stops after so many positives.
struct Counter {
    seen: AtomicU64,
    limit: u64,
}

impl Observer for Counter {
    fn advance(&self, positives: u64) -> bool {
        self.seen.fetch_add(positives, Ordering::Relaxed) + positives < self.limit
    }

    fn epoch(&self, _epoch: &Epoch) {}
}

fn options(compress: bool) -> TrainingOptions {
    TrainingOptions {
        compress,
        batch: 64,
        epochs: 4,
        patience: None,
        out_of_batch: 5,
        in_batch: 5,
        ..TrainingOptions::default()
    }
}

fn trained(options: &TrainingOptions, threads: usize, limit: u64) -> Result<Trained, TrainingError> {
    let split = random_split(40, 30, 8, 7);
    let (users, items) = (features(40, 3, 0, 1), features(30, 4, 20, 2));
    let counter = Counter { seen: AtomicU64::new(0), limit };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    pool.install(|| train(&split, &users, &items, options, Seed::of_stage(0, "train"), &counter))
}

#[test]
fn the_same_bytes_come_out_whatever_the_number_of_threads() {
    for compress in [true, false] {
        let [one, two] = [1, 2].map(|threads| trained(&options(compress), threads, u64::MAX).unwrap());
        assert_eq!((&one.curve, one.selected), (&two.curve, two.selected));
        assert_eq!(one.tensors.len(), two.tensors.len());
        for (a, b) in one.tensors.iter().zip(&two.tensors) {
            assert_eq!((&a.name, &a.shape), (&b.name, &b.shape));
            assert!(a.values.iter().zip(&b.values).all(|(a, b)| a.to_bits() == b.to_bits()), "{} differs", a.name);
        }
    }
}

#[test]
fn the_loss_falls_and_the_best_epoch_is_kept() {
    let result = trained(&options(false), 2, u64::MAX).unwrap();
    assert!(result.curve[3].loss < 0.7 * result.curve[0].loss, "{:?}", result.curve);
    let best = result.curve.iter().map(|epoch| epoch.metrics.unwrap()[1]).fold(0.0, f64::max);
    let selected = &result.curve[result.selected as usize - 1];
    assert!((selected.metrics.unwrap()[1] - best).abs() < 1e-15);
    let last = trained(&TrainingOptions { selection: Selection::Last, ..options(false) }, 2, u64::MAX).unwrap();
    assert_eq!((last.selected, last.curve.len()), (4, 4));
}

#[test]
fn patience_ends_a_training_that_no_longer_improves() {
    let result = trained(&TrainingOptions { patience: Some(1), epochs: 40, ..options(false) }, 2, u64::MAX).unwrap();
    assert_eq!(result.curve.len(), result.selected as usize + 1);
}

#[test]
fn a_stalled_training_and_a_choice_on_test_are_said() {
    let slow = TrainingOptions {
        learning_rate: 1e-7,
        activated: true,
        epochs: 1,
        selection: Selection::Best(Part::Test),
        ..options(true)
    };
    let warnings = trained(&slow, 2, u64::MAX).unwrap().warnings.join("\n");
    assert!(warnings.contains("test_best") && warnings.contains("training stalled"), "{warnings}");
    assert!(trained(&options(false), 2, u64::MAX).unwrap().warnings.is_empty());
}

#[test]
fn a_training_stops_when_told_to() {
    assert_eq!(trained(&options(false), 2, 100).unwrap_err(), TrainingError::Stopped);
    let wild = TrainingOptions { learning_rate: 1e30, ..options(true) };
    assert!(matches!(trained(&wild, 2, u64::MAX), Err(TrainingError::NotFinite { .. })));
}

#[test]
fn the_model_read_back_ranks_in_tiles_as_one_by_one() {
    for compress in [true, false] {
        let split = random_split(40, 30, 8, 7);
        let result = trained(&options(compress), 2, u64::MAX).unwrap();
        let model = ScoringModel::of_tensors(&result.tensors, &split).unwrap();
        let train_sets = split.sets(&[Part::Train]);
        let targets = split.part(Part::Test);
        let ranked = model.rank(30, targets, &train_sets, &|_| true).unwrap();
        let ScoringModel::Vectors(vectors) = &model else { panic!("a two-tower model has vectors") };
        let prepared = vectors.prepare();
        for ((user, item), rank) in targets.iter().zip(&ranked.ranks) {
            let scores = prepared.scores(&[*user]);
            assert_eq!(rank_of(&scores, *item as usize, train_sets.of_user(*user)), *rank);
        }
        let of_some: Vec<u32> = (0..40).filter(|user| user % 3 == 1).collect();
        let users = &of_some[..];
        let both = model.rank_and_list(30, targets, Lists { users, k: 4 }, &train_sets, &|_| true).unwrap();
        assert_eq!(both.ranks, ranked.ranks);
        assert_eq!(both.lists, model.top(users, 4, &train_sets, &|_| true).unwrap());
        let metrics = result.curve[result.selected as usize - 1].metrics.unwrap();
        let again = model.rank(30, split.part(Part::Validation), &train_sets, &|_| true).unwrap();
        let hits = again.ranks.iter().filter(|rank| rank.rank <= 10).count() as f64 / again.ranks.len() as f64;
        assert!((hits - metrics[0]).abs() < 1e-12);
        assert!(ScoringModel::of_tensors(&result.tensors, &random_split(40, 31, 8, 7)).is_err());
        assert!(model.rank(30, targets, &train_sets, &|_| false).is_none());
    }
}

#[test]
fn a_training_begins_from_the_weights_of_a_model() {
    for compress in [true, false] {
        let first =
            trained(&TrainingOptions { selection: Selection::Best(Part::Test), ..options(compress) }, 2, u64::MAX);
        let first = first.unwrap().tensors;
        let from = |tensors: &[Tensor], compress| TrainingOptions {
            initial: Some(tensors.to_vec()),
            epochs: 0,
            ..options(compress)
        };
        let again = trained(&from(&first, compress), 2, u64::MAX).unwrap();
        assert_eq!((again.tensors.as_slice(), again.selected), (first.as_slice(), 0));
        assert_eq!(again.tensors.last().unwrap().name, "selected_on_test");
        assert!(again.curve[0].metrics.is_some() && again.warnings.is_empty());
        let mut wrong = first.clone();
        wrong.retain(|tensor| tensor.name != "user_tower.mlp.0.bias");
        wrong.iter_mut().filter(|t| t.name == "item_tower.text.weight").for_each(|t| t.shape = vec![20, 96]);
        wrong.push(Tensor { name: "item_tower.extra".to_owned(), shape: vec![1], values: vec![0.0] });
        let error = trained(&from(&wrong, compress), 2, u64::MAX).unwrap_err().to_string();
        for part in
            ["`user_tower.mlp.0.bias` [128] is missing", "is [20, 96], not [96, 20]", "`item_tower.extra` [1] is no"]
        {
            assert!(error.contains(part), "{error}");
        }
        assert!(trained(&from(&first, !compress), 2, u64::MAX).is_err());
    }
}

#[test]
fn weights_of_another_activation_are_refused() {
    for compress in [true, false] {
        let with = |activation| TrainingOptions { activation, epochs: 1, ..options(compress) };
        let from = |tensors: &[Tensor], activation| TrainingOptions {
            initial: Some(tensors.to_vec()),
            epochs: 0,
            ..with(activation)
        };
        let model = |activation| trained(&with(activation), 2, u64::MAX).unwrap().tensors;
        let (gelu, relu) = (model(Activation::Gelu), model(Activation::Relu));
        let marks = |tensors: &[Tensor]| tensors.iter().filter(|tensor| tensor.name == "scorer.relu").count();
        assert_eq!((marks(&gelu), marks(&relu)), (0, 1), "GELU needs no mark");
        assert_eq!(trained(&from(&relu, Activation::Relu), 2, u64::MAX).unwrap().tensors, relu);
        let refused =
            |tensors: &[Tensor], activation| trained(&from(tensors, activation), 2, u64::MAX).unwrap_err().to_string();
        let error = refused(&relu, Activation::Gelu);
        assert!(error.ends_with("`scorer.relu` says that it has another activation"), "{error}");
        let error = refused(&gelu, Activation::Relu);
        assert!(error.contains("`scorer.relu` [1] is missing, so it has another activation"), "{error}");
        // As PyTorch's `state_dict()` gives them, without marks.
        let mut bare = relu.clone();
        bare.retain(|tensor| !["scorer.relu", "scorer.gelu"].contains(&tensor.name.as_str()));
        assert!(trained(&from(&bare, Activation::Gelu), 2, u64::MAX).is_ok());
        let activated = TrainingOptions { activated: true, ..from(&bare, Activation::Gelu) };
        let error = trained(&activated, 2, u64::MAX).unwrap_err().to_string();
        assert!(error.contains("`scorer.gelu` [1] is missing"), "{error}");
    }
}

#[test]
fn other_losses_widths_and_activations_learn_too() {
    let loss = Loss::SampledSoftmax { temperature: 0.5, logq: true };
    let widths = Widths { embedding: 20, hidden: [33, 40], tower: 24, compress: 10, scorer_hidden: [17, 12] };
    for compress in [true, false] {
        let options =
            TrainingOptions { loss, widths, activation: Activation::Relu, decay: Decay::Cosine, ..options(compress) };
        let [one, two] = [1, 2].map(|threads| trained(&options, threads, u64::MAX).unwrap());
        assert_eq!(one.tensors, two.tensors);
        assert!(one.curve[3].loss < one.curve[0].loss, "{:?}", one.curve);
    }
}
