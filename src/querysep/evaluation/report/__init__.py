"""What an evaluation leaves behind: results, tables and the page."""
