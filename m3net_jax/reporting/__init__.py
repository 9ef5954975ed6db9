"""What people read of a finished study: tables, figures, pages."""
