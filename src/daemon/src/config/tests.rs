#[cfg(test)] 
