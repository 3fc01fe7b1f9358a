use std::process::Output;

use serde_json::Value;

use crate::home::{Home, text};
use crate::test_server::TestServer;

/// Where a command is carried out.
#[derive(Clone, Copy)]
pub enum At<'a> {
    Server(&'a TestServer),
    Store,
}

impl At<'_> {
    pub fn run(self, home: &Home, args: &[&str]) -> Output {
        let mut command = home.grantry(args);
        match self {
            At::Store => command.arg("--offline"),
            At::Server(server) => {
                command.args(["--admin-url", &server.admin_url, "--server-url", &server.url])
            }
        };
        command.output().unwrap()
    }

    pub fn json(self, home: &Home, args: &[&str]) -> Value {
        let output = self.run(home, &[args, &["--json"]].concat());
        assert!(output.status.success(), "{args:?}: {}", text(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    pub fn refusal(self, home: &Home, args: &[&str]) -> String {
        let output = self.run(home, args);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {}", text(&output));
        assert!(output.stdout.is_empty(), "{}", text(&output));
        String::from_utf8(output.stderr).unwrap()
    }
}
