//! `[[tenants.inbound]]`: who takes a trunk's calls.

use super::*;

const SIP: &str = "[[trunks]]\ntrunk_id = \"carrier\"\ntenant_id = \"acme\"\nkind = \"sip\"\ngateway_ip = \"192.0.2.20\"\n\
                   reject_incoming_calls = false\n";

/// A file whose inbound entries begin at line 2 of the tenant.
fn with_inbound(inbound: &str) -> String {
    let tenant = TENANT_AND_TRUNK.replacen("[[trunks]]", &format!("{inbound}[[trunks]]"), 1);
    format!("{SERVER}{tenant}{SIP}")
}

#[test]
fn routes_are_read_in_their_order() {
    let files = Files::new();
    let (config, report) = files
        .read(&with_inbound(
            "[[tenants.inbound]]\ntrunk_id = \"carrier\"\nnumber = \"+15550100\"\ntarget = \"browser\"\nsubject = \"alice\"\n\
             [[tenants.inbound]]\ntrunk_id = \"carrier\"\nnumber = \"+1555*\"\ntarget = \"browser\"\n\
             [[tenants.inbound]]\ntrunk_id = \"carrier\"\nnumber = \"*\"\ntarget = \"echo\"\n",
        ))
        .unwrap();
    let inbound = &config.tenants[&"acme".parse().unwrap()].inbound;
    let route = |number, target| InboundRoute {
        trunk_id: "carrier".parse().unwrap(),
        number,
        target,
    };
    assert_eq!(
        *inbound,
        [
            route(
                NumberPattern::Exact("+15550100".to_owned()),
                InboundTarget::Browser {
                    subject: Some("alice".to_owned())
                }
            ),
            route(
                NumberPattern::Prefix("+1555".to_owned()),
                InboundTarget::Browser { subject: None }
            ),
            route(NumberPattern::Any, InboundTarget::Echo),
        ]
    );
    let shown = report.effective.to_string();
    for line in [
        "tenants[0].inbound[0].subject = \"alice\"  # ",
        "tenants[0].inbound[1].number = \"+1555*\"  # ",
        "tenants[0].inbound[2].target = \"echo\"  # ",
    ] {
        assert!(shown.contains(line), "{line} is not in {shown}");
    }
}

#[test]
fn mistakes_are_told_with_their_place() {
    let files = Files::new();
    let good =
        "[[tenants.inbound]]\ntrunk_id = \"carrier\"\nnumber = \"*\"\ntarget = \"browser\"\n";
    for (from, to, problem) in [
        (
            "\"carrier\"",
            "\"echo\"",
            "trunk_id: brings no calls; allowed: a trunk of kind \"sip\"",
        ),
        (
            "\"carrier\"",
            "\"none\"",
            "trunk_id: there is no trunk \"none\"",
        ),
        ("number = \"*\"\n", "", "number: is missing"),
        (
            "\"*\"",
            "\"+1*5\"",
            "number: \"+1*5\" is not allowed; allowed: a number as",
        ),
        (
            "\"browser\"",
            "\"agents\"",
            "target: \"agents\" is not allowed; allowed: \"browser\", \"echo\", \"vapi\", \"agent\"",
        ),
        ("\"browser\"", "\"agent\"", "agent_trunk_id: is missing"),
        (
            "\"browser\"",
            "\"agent\"\nagent_trunk_id = \"echo\"",
            "agent_trunk_id: is no AI agent; allowed: a trunk of kind \"websocket\"",
        ),
        (
            "\"browser\"",
            "\"agent\"\nagent_trunk_id = \"none\"",
            "agent_trunk_id: there is no trunk \"none\"",
        ),
        (
            "\"browser\"",
            "\"echo\"\nagent_trunk_id = \"echo\"",
            "agent_trunk_id: belongs to target \"agent\"",
        ),
        (
            "\"browser\"",
            "\"vapi\"",
            "target: the tenant makes no calls to Vapi: [tenants.vapi] with api_key_file",
        ),
        (
            "\"browser\"",
            "\"echo\"\nsubject = \"alice\"",
            "subject: belongs to target \"browser\"",
        ),
        (
            "\"browser\"",
            "\"browser\"\nsubject = \"\"",
            "subject: \"\" is not allowed; allowed: 1 to 256 bytes",
        ),
        ("target = \"browser\"\n", "", "target: is missing"),
    ] {
        let problems = files.problems(&with_inbound(&good.replacen(from, to, 1)));
        let problem = format!("tenants[0].inbound[0].{problem}");
        assert!(
            problems.len() == 1 && problems[0].contains(&problem),
            "{to}: {problems:#?}"
        );
    }
    let other_tenant = format!("{}[[tenants]]\ntenant_id = \"b\"\n{good}", with_inbound(""));
    assert_eq!(
        files.problems(&other_tenant),
        [
            "gateway.toml:30:12: tenants[1].inbound[0].trunk_id: the trunk \"carrier\" belongs to another tenant",
            "gateway.toml:32:10: tenants[1].inbound[0].target: the tenant has no [tenants.browser] table",
        ]
    );
}

#[test]
fn routes_that_take_nothing_are_warned_of() {
    let files = Files::new();
    let route = |number: &str| {
        format!(
            "[[tenants.inbound]]\ntrunk_id = \"carrier\"\nnumber = \"{number}\"\ntarget = \"echo\"\n"
        )
    };
    let text = with_inbound(&format!("{}{}", route("+1*"), route("+15")));
    let (_, report) = files.read(&text).unwrap();
    assert!(
        report
            .warnings
            .to_string()
            .contains("inbound[1].number: takes no call: an entry above takes them all")
    );
    let text = text.replace("reject_incoming_calls = false\n", "");
    let (_, report) = files.read(&text).unwrap();
    assert!(report.warnings.to_string().contains(
        "inbound[0].trunk_id: takes no call: the trunk has reject_incoming_calls = true"
    ));
}
