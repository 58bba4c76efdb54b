//! How far one step of an upgrade may go in a mesh.

use meshlift_api::UpgradePath;
use meshlift_istio::version::StepRule;
use meshlift_model::view::{MeshView, Seen};

/// Two minors at once only where that was chosen, and where nothing runs once on every node: the CNI agent and
/// ztunnel serve both control planes during a step, and work with one that is one minor ahead. While it is not
/// known what runs there, it counts as present.
pub fn step_rule(chosen: UpgradePath, view: &MeshView) -> StepRule {
    let free = match &view.environment.node_agents {
        Seen::Absent => true,
        Seen::Present(agents) => agents.is_empty(),
        Seen::Unreadable(_) => false,
    };
    match chosen {
        UpgradePath::FewestRestarts if free => StepRule::FEWEST_RESTARTS,
        UpgradePath::FewestRestarts | UpgradePath::EachMinor => StepRule::EACH_MINOR,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use meshlift_model::view::{NodeAgent, NodeAgentKind};

    #[test]
    fn two_minors_are_for_those_who_choose_them_and_have_no_agents() {
        let mut view = MeshView::default();
        let rule = |view: &MeshView| step_rule(UpgradePath::FewestRestarts, view);
        assert_eq!(
            step_rule(UpgradePath::default(), &view),
            StepRule::EACH_MINOR
        );
        assert_eq!(rule(&view), StepRule::FEWEST_RESTARTS);
        view.environment.node_agents = Seen::Unreadable("on fire".into());
        assert_eq!(rule(&view), StepRule::EACH_MINOR);
        for kind in [NodeAgentKind::Cni, NodeAgentKind::Ztunnel] {
            view.environment.node_agents = Seen::Present(vec![NodeAgent {
                kind,
                namespace: "istio-system".into(),
                name: "agent".into(),
                version: None,
                image: String::new(),
                desired: 1,
                ready: 1,
            }]);
            assert_eq!(rule(&view), StepRule::EACH_MINOR);
        }
    }
}
