
fn adi_near(a: &str, b: &str) -> bool {
    let parts = |text: &str| -> Vec<String> {
        let mut found: Vec<String> = vec![String::new()];
        for c in text.chars() {
            let number = c.is_ascii_digit() || c == '.' || c == '-' || c == 'e';
            let last = found.last_mut().unwrap();
            let before = last.chars().last().map(|p| p.is_ascii_digit() || p == '.' || p == '-' || p == 'e');
            if before.is_none() || before == Some(number) { last.push(c); } else { found.push(c.to_string()); }
        }
        found
    };
    let (x, y) = (parts(a), parts(b));
    x.len() == y.len() && x.iter().zip(y.iter()).all(|(p, q)| {
        p == q || match (p.parse::<f64>(), q.parse::<f64>()) {
            (Ok(m), Ok(n)) => (p.contains('.') || q.contains('.')) && (m - n).abs() <= 1e-6 * n.abs().max(1e-3),
            _ => false,
        }
    })
}
fn adi_example<T: PartialEq + std::fmt::Debug>(number: usize, label: &str, wanted: &str, run: impl FnOnce() -> (T, T)) -> bool {
    let told = match std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)) {
        Ok((got, want)) => {
            let text = format!("{:?}", got);
            if got == want || (!text.contains('"') && adi_near(&text, &format!("{:?}", want))) { String::new() }
            else { format!("got {}", text.chars().take(300).collect::<String>()) }
        }
        Err(_) => String::from("it panicked"),
    };
    if told.is_empty() { println!("\nok {} - {}", number, label); }
    else { println!("\nnot ok {} - {} # expected {}, {}", number, label, wanted, told); }
    told.is_empty()
}
fn main() {
    let mut failed = false;
//EXAMPLES
    std::process::exit(if failed { 1 } else { 0 });
}
