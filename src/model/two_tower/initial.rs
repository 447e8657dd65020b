//! Weights of a finished model as the beginning of a training.

use std::collections::BTreeMap;

use super::parameters::Tensor;
use super::scorer::relu_mark;
use super::train::Network;

/// Tells that a model's epoch was picked on the test set, or that of the model it began from.
pub const SELECTED_ON_TEST: &str = "selected_on_test";

/// Tensors of a model that are no weights.
const BESIDE: [&str; 6] = ["user_vectors", "item_vectors", "scorer.gelu", "scorer.relu", "id_check", SELECTED_ON_TEST];

impl Network {
    /// Takes all weights from a model's tensors, by name.
    ///
    /// # Errors
    /// What does not fit, a line each: weights that are missing or have another
    /// shape, tensors that are no weight of this model, other ids, another
    /// activation. Nothing is taken then.
    pub(super) fn begin_from(&mut self, tensors: &[Tensor], id_check: &[f32]) -> Result<(), Vec<String>> {
        let mut given: BTreeMap<&str, &Tensor> = tensors.iter().map(|t| (t.name.as_str(), t)).collect();
        let mut problems = Vec::new();
        if given.get("id_check").is_some_and(|check| check.values != id_check) {
            problems.push("its users or items are not those of this split (`id_check`)".to_owned());
        }
        for own in [self.scorer.gelu_mark(), relu_mark(self.users.activation())] {
            match given.get(own.name.as_str()) {
                Some(theirs) if theirs.values != own.values => {
                    problems.push(format!("`{}` says that it has another activation", own.name));
                }
                None if own.values != [0.0] => problems.push(format!(
                    "`{}` [1] is missing, so it has another activation (give it as 1 if the weights are of this one)",
                    own.name
                )),
                _ => {}
            }
        }
        given.retain(|name, _| !BESIDE.contains(name));
        let weights = self.weights();
        for weight in &weights {
            let own = &weight.tensor;
            match given.remove(own.name.as_str()) {
                Some(theirs) if theirs.shape == own.shape => {}
                Some(theirs) => {
                    problems.push(format!("`{}` is {:?}, not {:?}", own.name, theirs.shape, own.shape));
                }
                None => problems.push(format!("`{}` {:?} is missing", own.name, own.shape)),
            }
        }
        problems.extend(given.values().map(|t| format!("`{}` {:?} is no weight of this model", t.name, t.shape)));
        if !problems.is_empty() {
            return Err(problems);
        }
        let given: BTreeMap<&str, &Tensor> = tensors.iter().map(|t| (t.name.as_str(), t)).collect();
        for weight in weights {
            if let Some(theirs) = given.get(weight.tensor.name.as_str()) {
                weight.tensor.values.clone_from(&theirs.values);
            }
        }
        Ok(())
    }
}
