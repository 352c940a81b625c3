//! The claims of the papers that Netsor checks, one file a subject.
//!
//! A claim predicts with the limit engine (or with a paper's rate) and measures with the finite
//! engine, on the shipped digits; the two engines never see each other outside this crate.
//! Margins of equivalence are constants of each file, fixed before its data were seen.

mod architecture;
mod circle;
mod conditioning;
mod coordinates;
mod cumulants;
mod drift;
mod flow;
mod footnote;
mod independence;
mod linearised;
mod nth_architectures;
mod nth_gap;
mod nth_limit;
mod nth_points;
mod nth_scaling;
mod nth_setup;
mod nth_softplus;
mod nth_training;
mod nth_truncation;
mod ntk_init;
mod ntk_train;
mod order_of_limits;
mod path_formula;
mod random_features;
mod random_labels;
mod readout;
mod regression;
mod rules;
mod setup;

use crate::Claim;

/// All claims, in the order of the report.
#[must_use]
pub fn all() -> Vec<Box<dyn Claim>> {
    let mut claims: Vec<Box<dyn Claim>> = Vec::new();
    claims.extend(rules::all());
    claims.push(Box::new(cumulants::NngpCumulants));
    claims.push(Box::new(order_of_limits::OrderOfLimits));
    claims.push(Box::new(readout::ReadoutOnly));
    claims.extend(ntk_init::all());
    claims.push(Box::new(path_formula::PathFormulaClaim));
    claims.extend(ntk_train::all());
    claims.push(Box::new(coordinates::Coordinates));
    claims.push(Box::new(conditioning::Conditioning));
    claims.push(Box::new(flow::Flow));
    claims.push(Box::new(circle::Circle));
    claims.push(Box::new(footnote::Footnote13));
    claims.push(Box::new(drift::NtkDrift));
    claims.push(Box::new(linearised::LinearisedTraining));
    claims.push(Box::new(random_features::RandomFeatures));
    claims.push(Box::new(random_labels::RandomLabels));
    claims.push(Box::new(nth_scaling::NthScaling));
    claims.push(Box::new(nth_truncation::NthTruncation));
    claims.push(Box::new(nth_training::NthTraining));
    claims.push(Box::new(nth_limit::NthLimit));
    claims.push(Box::new(nth_gap::NthGap));
    claims.push(Box::new(nth_architectures::NthArchitectures));
    claims.push(Box::new(nth_softplus::NthSoftplus));
    claims.push(Box::new(nth_points::NthPoints));
    claims
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::all;

    #[test]
    fn every_claim_has_an_id_and_a_page_of_its_own() {
        let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
        let mut ids = BTreeSet::new();
        for claim in all() {
            assert!(ids.insert(claim.id()), "two claims are called `{}`", claim.id());
            let page = claim.page().unwrap_or_else(|| panic!("`{}` has no page", claim.id()));
            assert!(docs.join(page).is_file(), "`{}`: there is no page `{page}`", claim.id());
        }
    }
}
