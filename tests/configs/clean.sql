UPDATE customers SET email = 'c' || id || '@test.invalid';
