//! The conditions of a rule one by one: how a denial tells what was missing. Explains only; never decides.

use std::sync::Arc;

use cedar_policy::{Authorizer, Decision, Policy, PolicySet, pst};

use crate::question::Question;

/// One condition of a rule as a rule of its own.
#[derive(Debug, Clone)]
pub(crate) struct Probe {
    /// The condition as a person reads it.
    pub(crate) text: String,
    rule: PolicySet,
}

impl Probe {
    /// The conditions on principal and circumstances; those on action and resource choose the rule and are not lacked.
    pub(crate) fn all_of(policy: &Policy) -> Result<Vec<Self>, String> {
        let whole = policy.to_pst().map_err(|error| error.to_string())?;
        let body = whole.body();
        let mut probes = Vec::new();
        if body.principal != pst::PrincipalConstraint::Any {
            let probe = bare(body, body.principal.clone(), None)?;
            probes.push(Self {
                text: format!("principal {}", body.principal),
                rule: probe,
            });
        }
        for clause in body.clauses() {
            match clause {
                pst::Clause::When(condition) => {
                    for part in conjuncts(condition) {
                        let clause = pst::Clause::When(Arc::clone(part));
                        let rule = bare(body, pst::PrincipalConstraint::Any, Some(clause))?;
                        probes.push(Self {
                            text: part.to_string(),
                            rule,
                        });
                    }
                }
                pst::Clause::Unless(condition) => {
                    let rule = bare(body, pst::PrincipalConstraint::Any, Some(clause.clone()))?;
                    probes.push(Self {
                        text: format!("not ({condition})"),
                        rule,
                    });
                }
            }
        }
        Ok(probes)
    }

    /// Whether the condition holds; one that can't be evaluated does not.
    pub(crate) fn holds(&self, authorizer: &Authorizer, question: &Question) -> bool {
        let answer = authorizer.is_authorized(&question.request, &self.rule, &question.entities);
        answer.decision() == Decision::Allow && answer.diagnostics().errors().next().is_none()
    }
}

/// A permit with one condition only.
fn bare(
    body: &pst::Template,
    principal: pst::PrincipalConstraint,
    clause: Option<pst::Clause>,
) -> Result<PolicySet, String> {
    let template = pst::Template::new(
        body.id.clone(),
        pst::Effect::Permit,
        principal,
        pst::ActionConstraint::Any,
        pst::ResourceConstraint::Any,
    );
    let template = template
        .try_with_clauses(clause)
        .map_err(|error| error.to_string())?;
    let fixed = pst::StaticPolicy::try_from(template).map_err(|error| error.to_string())?;
    let policy = Policy::from_pst(pst::Policy::Static(fixed)).map_err(|error| error.to_string())?;
    PolicySet::from_policies([policy]).map_err(|error| error.to_string())
}

fn conjuncts(condition: &Arc<pst::Expr>) -> Vec<&Arc<pst::Expr>> {
    match &**condition {
        pst::Expr::BinaryOp {
            op: pst::BinaryOp::And,
            left,
            right,
        } => {
            let mut parts = conjuncts(left);
            parts.extend(conjuncts(right));
            parts
        }
        _ => vec![condition],
    }
}
