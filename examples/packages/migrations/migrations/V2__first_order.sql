insert into orders (id, name) values (1, 'tea');
